"""What the proof of a bake sees."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arithmetic.baking import bake
from arithmetic.baking.demands import touched_modules
from arithmetic.baking.proof import prove
from arithmetic.baking.sheets import draw_sheets
from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.errors import (
    BoundExceeded,
)
from arithmetic.resources import Resources
from arithmetic.weights import open_weights
from formats import Architecture, ModuleSpec, read_header


@dataclass(frozen=True)
class Fickle:
    """A sum that says something else each time: what a proof is for."""

    architecture: Architecture
    modules: Mapping[str, LowRank]
    name: str = "fickle"
    content: str = field(default="fickle", compare=False)
    asked: dict[str, int] = field(default_factory=dict, compare=False)

    def delta(self, module: str) -> Delta:
        self.asked[module] = self.asked.get(module, 0) + 1
        delta = self.modules[module]
        return LowRank(delta.up, delta.down, delta.scale * self.asked[module])


def test_a_file_that_is_not_the_sum_is_never_published(worlds: Callable, planted: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    source = planted(world.table, {"unet.conv_in": (64, 4, 3, 3)})
    with pytest.raises(BoundExceeded, match=r"unet\.conv_in: arithmetic error"):
        bake([(1.0, world.weights("file"))], Fickle(world.table, source.modules), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["first_stage_model.quant_conv.weight", "model.diffusion_model.out.2.weight"])
def test_the_proof_sees_a_single_bit(key: str, worlds: Callable, planted: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights("file"), planted(world.table, {"unet.conv_out": (4, 64, 3, 3)})
    bake([(1.0, base)], source, tmp_path / "out")
    sheets = draw_sheets(
        base, touched_modules([(1.0, base)], source), tag=None, shard_bytes=None, metadata={}, file_name="out"
    )
    header = read_header(tmp_path / "out")
    with (tmp_path / "out").open("r+b") as file:
        file.seek(header.data_start + header.tensors[key].start + 1)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 64]))
    written = open_weights(tmp_path / "out", world.table)
    if "first_stage" in key:
        with pytest.raises(BoundExceeded, match=r"quant_conv\.weight is not the base's"):
            prove(written, sheets, [(1.0, base)], source, resources=Resources(workers=1))
    else:
        found = prove(written, sheets, [(1.0, base)], source, resources=Resources(workers=1))
        assert found.errors["unet.conv_out"] > found.bounds["unet.conv_out"]


def test_weights_below_the_smallest_normal_number_pass_their_proof(plant: Callable, tmp_path: Path) -> None:
    table = Architecture("tiny", {"unet.conv_in": ModuleSpec("linear", (40, 30))})
    save_file({"conv_in.weight": (torch.randn(40, 30) * 3e-7).half()}, tmp_path / "base")
    source = plant(table, {"unet.conv_in": Dense(torch.randn(40, 30, dtype=torch.float64) * 3e-7)})
    proof = bake([(1.0, open_weights(tmp_path / "base", table))], source, tmp_path / "baked")
    assert proof.worst_relative_error <= 2e-3

"""Our bakes beside the weights that other tools made of the same files (golden/make_weights.py says which versions)."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from arithmetic import bake, open_vector, open_weights
from formats import Architecture, ModuleSpec

GOLDEN = Path(__file__).parent / "golden" / "weights.safetensors"
FIRST = Architecture("first", {"unet.conv_in": ModuleSpec("conv", (320, 4, 3, 3))})


@cache
def golden(prefix: str) -> dict[str, Tensor]:
    """What lies under a prefix."""
    return {key.removeprefix(prefix): t for key, t in load_file(GOLDEN).items() if key.startswith(prefix)}


def baked(workshop: Any, text: str, table: Architecture, base: dict[str, Tensor], **pieces: dict[str, Tensor]) -> Any:
    """The weights of a recipe of these files on `x`."""
    opened = {"x": workshop.checkpoint(base, table)}
    for name, tensors in pieces.items():
        path = workshop.place()
        save_file(tensors, path)
        opened[name] = open_vector(path, table, name=name)
        assert opened[name].unmatched == ()
    bound, path = workshop.bound(text, **opened), workshop.place()
    bake(bound.bases, bound.combination, path)
    return open_weights(path, table)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_baked_lycoris_file_is_what_lycoris_merges(kind: str, workshop: Any) -> None:
    """In float32, at a scale of 0.7; matrices and factors, convolutions, a text encoder."""
    base, merged = golden(f"lycoris/{kind}/base/"), golden(f"lycoris/{kind}/merged/")
    found = baked(workshop, "x + 0.7*a", workshop.table, base, a=golden(f"lycoris/{kind}/piece/"))
    assert len(merged) == 5
    for name, expected in merged.items():
        change = (expected - base[name]).norm()
        assert change > 0.01
        assert (found.weight(name) - expected).norm() < 3e-6 * (change + expected.norm())


def test_baked_loras_are_what_sd_mecha_adds(workshop: Any) -> None:
    """0.8 and -0.5 of two ranks and alphas, which it sums in float64."""
    base, merged = golden("mecha/base/"), golden("mecha/merged/")
    pieces = {"a": golden("mecha/0/"), "b": golden("mecha/1/")}
    start = {"unet.conv_in": base["conv_in"]}
    found = baked(workshop, "x + 0.8*a - 0.5*b", FIRST, start, **pieces).weight("unet.conv_in")
    assert not torch.allclose(base["conv_in"], merged["conv_in"], rtol=0.1)
    torch.testing.assert_close(found, merged["conv_in"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["loha", "lokr"])
def test_a_composed_lycoris_file_is_what_lycoris_merges(kind: str, workshop: Any) -> None:
    """As a LoRA of enough rank, where a LoHa or LoKr that fills its matrix has to be given one."""
    path = workshop.place()
    save_file(golden(f"lycoris/{kind}/piece/"), path)
    a = open_vector(path, workshop.table, name="a")
    found = workshop.deltas("0.7*a | rank(99)", a=a)
    base, merged = golden(f"lycoris/{kind}/base/"), golden(f"lycoris/{kind}/merged/")
    for name, expected in merged.items():
        change = (expected.double() - base[name].double()).flatten(1).numpy()
        assert abs(found[name] - change).max() < 2e-6

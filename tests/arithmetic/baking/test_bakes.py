"""A base with a sum in it: every tensor against a dense float64 oracle, rounded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic.baking import BakeCertificate, bake
from arithmetic.certificate import certificate_path
from arithmetic.errors import (
    BoundExceeded,
)
from arithmetic.resources import Resources
from arithmetic.weights import open_weights
from formats import Architecture, ModuleSpec, read_header

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["folder", "file", "unet", "unet-folder"])
def test_every_module_is_the_base_plus_its_delta_rounded_once(
    kind: str, dtype: str, worlds: Callable, check_sums: Callable, tmp_path: Path
) -> None:
    world = worlds(dtype)
    base, source = world.weights(kind), world.source(kind)
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors")
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    check_sums(written, base, source)
    assert proof.worst_relative_error <= proof.bound
    assert proof.modules.keys() == source.modules.keys()
    assert BakeCertificate.from_json(certificate_path(tmp_path / "baked.safetensors").read_text()) == proof


@pytest.mark.parametrize(("stored", "asked"), [("fp32", "fp16"), ("fp32", "bf16"), ("fp16", "fp32"), ("bf16", "fp16")])
def test_another_dtype_is_every_modules_and_nothing_elses(
    stored: str, asked: str, worlds: Callable, check_sums: Callable, tmp_path: Path
) -> None:
    world = worlds(stored)
    base, source = world.weights("file"), world.source()
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors", dtype=asked)
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    check_sums(written, base, source, coarse=DTYPES[asked])
    header = read_header(tmp_path / "baked.safetensors")
    assert (
        header.tensors["first_stage_model.quant_conv.weight"].dtype
        == {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[stored]
    )
    assert header.tensors["alphas_cumprod"].dtype == "F32"
    assert proof.dtype == {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[asked]


def test_a_dtype_alone_is_something_to_bake(
    worlds: Callable, plant: Callable, check_sums: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    bake([(1.0, world.weights("folder"))], None, tmp_path / "half", dtype="fp16")
    check_sums(
        open_weights(tmp_path / "half", world.table), world.weights("folder"), plant(world.table, {}), torch.float16
    )


def test_a_third_of_a_fused_tensor_changes_and_the_other_two_do_not(planted: Callable, tmp_path: Path) -> None:
    width, attention = 6, "text_encoder.text_model.encoder.layers.0.self_attn"
    shapes = {f"{attention}.{p}_proj": (width, width) for p in "qkv"} | {"text_encoder_2.text_projection": (width, 5)}
    table = Architecture("tiny", {module: ModuleSpec("linear", shape) for module, shape in shapes.items()})
    stored = {
        "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": torch.randn(3 * width, width),
        "conditioner.embedders.1.model.text_projection": torch.randn(5, width),
    }
    save_file(stored, tmp_path / "base")
    source = planted(table, {f"{attention}.k_proj": (width, width), "text_encoder_2.text_projection": (width, 5)})
    proof = bake([(1.0, open_weights(tmp_path / "base", table))], source, tmp_path / "baked")
    fused, turned = (load_file(tmp_path / "baked")[key] for key in stored)
    before = stored["cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"]
    assert torch.equal(fused[:width], before[:width])
    assert torch.equal(fused[2 * width :], before[2 * width :])
    delta = source.modules[f"{attention}.k_proj"].dense()
    assert torch.allclose(fused[width : 2 * width].double(), before[width : 2 * width].double() + delta, rtol=1e-7)
    delta = source.modules["text_encoder_2.text_projection"].dense().T
    expected = stored["conditioner.embedders.1.model.text_projection"].double() + delta
    assert torch.allclose(turned.double(), expected, rtol=1e-7)
    assert proof.moved == 2


def test_bases_are_summed_with_their_biases_and_the_first_ones_vae(
    worlds: Callable, other: Any, tmp_path: Path
) -> None:
    world = worlds("fp32")
    a, b = world.weights("file", "a"), other.weights("folder", "b")
    source = world.source()
    bake([(0.25, a), (0.75, b)], source, tmp_path / "merged")
    written = open_weights(tmp_path / "merged", world.table)
    for module in a.modules:
        exact = 0.25 * a.weight(module).double() + 0.75 * b.weight(module).double()
        if module in source.modules:
            exact += source.modules[module].dense().reshape(exact.shape)
        assert torch.allclose(written.weight(module).double(), exact, rtol=2e-7, atol=1e-9), module
    key = "first_stage_model.quant_conv.weight"
    assert torch.equal(load_file(tmp_path / "merged")[key], load_file(world.file)[key])


def test_a_base_plus_the_difference_of_two_equal_ones_is_that_base(
    worlds: Callable, other: Any, tmp_path: Path
) -> None:
    a, b = worlds("fp32").weights("folder", "a"), other.weights("folder", "b")
    with pytest.raises(BoundExceeded, match="no weight moved"):
        bake([(1.0, a), (1.0, b), (-1.0, b)], None, tmp_path / "same")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_the_bytes_do_not_depend_on_the_number_of_workers(kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    proofs = [
        bake([(1.0, world.weights(kind))], world.source(), tmp_path / str(n) / "out", resources=Resources(workers=n))
        for n in (1, 3)
    ]
    assert proofs[0] == proofs[1]


def test_a_baked_checkpoint_holds_the_folders_weights_under_the_original_names(
    worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    bake([(1.0, world.weights("file"))], world.source(), tmp_path / "file")
    bake([(1.0, world.weights("folder"))], world.source(), tmp_path / "folder")
    file, folder = (open_weights(tmp_path / name, world.table) for name in ("file", "folder"))
    assert file.modules.keys() == folder.modules.keys()
    for module in folder.modules:
        assert torch.equal(file.weight(module), folder.weight(module)), module

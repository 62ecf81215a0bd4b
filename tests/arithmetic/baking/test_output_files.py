"""Which files a bake writes, which bytes in them are the base's own, and how they are cut into shards."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel

from arithmetic.baking import bake
from arithmetic.errors import (
    OutputConflict,
)
from arithmetic.weights import open_weights


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_module_and_what_is_not_touched_keeps_its_bytes(kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights(kind), world.source()
    proof = bake([(1.0, base)], source, tmp_path / "baked.safetensors")
    written = open_weights(tmp_path / "baked.safetensors", world.table)
    changed = {(base.place(module).file.name, base.place(module).key) for module in source.modules}
    same = 0
    for file, own in zip(written.files, base.files, strict=True):
        assert list(file.header.tensors) == sorted(own.header.tensors, key=lambda key: own.header.tensors[key].start)
        for key in own.header.tensors:
            if (own.path.name, key) not in changed:
                same += 1
                assert bytes(written.mapped(file.path).raw(key)) == bytes(base.mapped(own.path).raw(key)), key
    assert proof.untouched == same


def test_every_other_file_of_a_folder_is_copied_byte_for_byte(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    proof = bake([(1.0, world.weights("folder"))], world.source(), tmp_path / "baked")
    weights = {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    files = {path.relative_to(world.folder).as_posix() for path in world.folder.rglob("*") if path.is_file()}
    assert {
        p.relative_to(tmp_path / "baked").as_posix() for p in (tmp_path / "baked").rglob("*") if p.is_file()
    } == files
    for name in files - weights:
        assert (tmp_path / "baked" / name).read_bytes() == (world.folder / name).read_bytes()
    assert proof.files.keys() == files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["baked", "baked.certificate.json"]


def copy_of(folder: Path, to: Path) -> Path:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


def test_the_same_weights_in_another_form_would_be_stale_and_are_left_out_by_name(
    worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    folder = copy_of(world.folder, tmp_path / "base")
    stale = ["unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors", "all.ckpt"]
    kept = ["text_encoder/pytorch_model.bin", "vae/diffusion_pytorch_model.bin", "README.md"]
    for name in [*stale, *kept, ".git/HEAD"]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    source = world.source("unet")
    proof = bake([(1.0, open_weights(folder, world.table))], source, tmp_path / "baked")
    assert sorted(proof.left_out) == sorted([*stale, ".git/"])
    assert not any((tmp_path / "baked" / name).exists() for name in [*stale, ".git"])
    assert all((tmp_path / "baked" / name).read_bytes() == b"x" for name in kept)
    text_encoder = "text_encoder/model.safetensors"
    assert (tmp_path / "baked" / text_encoder).read_bytes() == (folder / text_encoder).read_bytes()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_read_by_diffusers_and_transformers(
    variant: str | None, worlds: Callable, check_sums: Callable, tmp_path: Path
) -> None:
    world = worlds("fp16")
    folder = copy_of(world.folder, tmp_path / "base")
    if variant:
        for name in ("unet/diffusion_pytorch_model", "text_encoder/model"):
            (folder / f"{name}.safetensors").rename(folder / f"{name}.fp16.safetensors")
    base, source = open_weights(folder, world.table), world.source()
    bake([(1.0, base)], source, tmp_path / "baked", shard_bytes=500_000)
    written = open_weights(tmp_path / "baked", world.table)
    check_sums(written, base, source)
    assert len(written.files) > 4
    assert all(file.path.stat().st_size < 520_000 for file in written.files if len(file.header.tensors) > 1)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "baked" / "unet", variant=variant, dtype=torch.float16)
    text = CLIPTextModel.from_pretrained(tmp_path / "baked" / "text_encoder", variant=variant, dtype=torch.float16)
    assert torch.equal(unet.conv_in.weight, written.weight("unet.conv_in"))
    name = "text_encoder.text_model.encoder.layers.1.mlp.fc1"
    assert torch.equal(text.get_parameter("encoder.layers.1.mlp.fc1.weight"), written.weight(name))


def test_a_base_in_shards_keeps_them_or_is_cut_anew(worlds: Callable, check_sums: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    source = world.source()
    bake([(1.0, world.weights("folder"))], source, tmp_path / "shards", shard_bytes=500_000)
    base = open_weights(tmp_path / "shards", world.table)
    bake([(1.0, base)], source, tmp_path / "again")
    bake([(1.0, base)], source, tmp_path / "whole", shard_bytes=10**9)
    again, whole = (open_weights(tmp_path / name, world.table) for name in ("again", "whole"))
    assert [file.name for file in again.files] == [file.name for file in base.files]
    assert [file.path.name for file in whole.files] == ["diffusion_pytorch_model.safetensors", "model.safetensors"]
    assert not list((tmp_path / "whole").rglob("*.index.json"))
    for written in (again, whole):
        check_sums(written, base, source)


def test_one_file_is_cut_into_shards_with_an_index(worlds: Callable, check_sums: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    base, source = world.weights("file"), world.source()
    bake([(1.0, base)], source, tmp_path / "out.safetensors", shard_bytes=2_000_000)
    index = tmp_path / "out.safetensors.index.json"
    written = open_weights(index, world.table)
    check_sums(written, base, source)
    assert {file.path.name for file in written.files} == {
        f"out-{i + 1:05d}-of-{len(written.files):05d}.safetensors" for i in range(len(written.files))
    }
    document = json.loads(index.read_text())
    assert document["weight_map"].keys() == base.files[0].header.tensors.keys()
    assert document["metadata"]["total_size"] == sum(s.end - s.start for s in base.files[0].header.tensors.values())
    with pytest.raises(OutputConflict, match="Shards are never replaced"):
        bake([(1.0, base)], source, tmp_path / "out.safetensors", shard_bytes=2_000_000)


def test_the_header_says_what_was_baked_and_claims_no_hash_of_the_base(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    texts = {"recipe": "base + 0.8*style", "locked": "sha256:00 + 0.8*sha256:11"}
    bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", metadata={"more": "said"}, **texts)
    with safe_open(tmp_path / "out", framework="pt") as file:
        said = file.metadata()
    assert said == {
        "format": "pt",
        "modelspec.title": "the base",
        "more": "said",
        "tauworks.recipe": texts["recipe"],
        "tauworks.locked": texts["locked"],
    }

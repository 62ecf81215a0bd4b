"""Checkpoints from recipes, the base out of them again, and any tool's checkpoint proved."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from arithmetic import BakeCertificate, BoundExceeded, Cancelled, CertificateMismatch, ValidationRefused
from workbench.errors import ChangedInput, NotABase, NotBaked, NotCertified, UnsupportedRecipe
from workbench.painting.previewing import preview
from workbench.sums.baking import bake, unbake
from workbench.sums.verifying import verify

UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The U-Net's."""
    return load_file(folder / UNET)


def test_a_checkpoint_is_baked_proved_registered_and_paints_what_the_recipe_paints(gallery: Any) -> None:
    out = gallery.files / "baked"
    baked = bake(gallery.registry, "shapes + 0.8*soft{unet.up: 0.5} + fast", out, name="mine", draft=True)
    assert baked.version is not None
    assert (baked.version.kind, baked.version.state, baked.recipe) == (
        "base",
        "draft",
        "shapes + 0.8*soft{unet.up: 0.5} + fast",
    )
    edges = {(edge.parent, edge.relation, edge.weight) for edge in gallery.registry.lineage("mine").edges}
    assert edges == {
        ("shapes:1", "baked_into", 1.0),
        ("soft:1", "composed_from", 0.8),
        ("fast:1", "composed_from", 1.0),
    }
    for target in (str(out), "mine"):
        assert verify(gallery.registry, target).worst_relative_error == baked.certificate.worst_relative_error
    settings = {"solver": "ddim", "steps": 2, "guidance": 2.0}
    own, theirs = (
        preview(gallery.registry, recipe, ["a circle"], **settings).images[0]
        for recipe in ("mine", "shapes + 0.8*soft{unet.up: 0.5} + fast")
    )
    worst = max(abs(a - b) for a, b in zip(own.tobytes(), theirs.tobytes(), strict=True))
    assert worst <= 1


def test_every_option_changes_the_result(gallery: Any) -> None:
    plain = bake(gallery.registry, "shapes + soft", gallery.files / "plain")
    half = bake(gallery.registry, "shapes + soft", gallery.files / "half", dtype="fp16")
    staged = bake(gallery.registry, "shapes + soft | dtype(bf16)", gallery.files / "staged")
    assert (plain.certificate.dtype, half.certificate.dtype, staged.certificate.dtype) == ("F32", "F16", "BF16")
    bake(gallery.registry, "soft", gallery.files / "cut", base="shapes", shard_bytes=200_000)
    assert len(list((gallery.files / "cut" / "unet").glob("*-of-*.safetensors"))) > 1
    assert isinstance(verify(gallery.registry, str(gallery.files / "cut")), BakeCertificate)


def test_a_residual_gives_the_base_back_to_the_bit(gallery: Any) -> None:
    out, kept = gallery.files / "baked", gallery.files / "kept.residual"
    bake(gallery.registry, "shapes + 0.8*soft", out, residual=kept)
    unbake(gallery.registry, out, kept, gallery.files / "back")
    assert (gallery.files / "back" / UNET).read_bytes() == (gallery.base / UNET).read_bytes()
    other = gallery.files / "other"
    bake(gallery.registry, "shapes + 0.7*soft", other)
    with pytest.raises(CertificateMismatch):
        unbake(gallery.registry, other, kept, gallery.files / "again")
    with pytest.raises(NotBaked):
        unbake(gallery.registry, gallery.base, kept, gallery.files / "again")
    assert not (gallery.files / "again").exists()


def test_paths_need_no_registry(gallery: Any) -> None:
    recipe, out = f"{gallery.base} + 0.8*{gallery.files / 'soft.safetensors'}", gallery.files / "baked"
    with pytest.raises(UnsupportedRecipe, match="tau init"):
        bake(None, recipe, out, name="mine")
    baked = bake(None, recipe, out, residual=gallery.files / "kept")
    assert verify(None, str(out)).modules == baked.certificate.modules
    unbake(None, out, gallery.files / "kept", gallery.files / "back")
    assert (gallery.files / "back" / UNET).read_bytes() == (gallery.base / UNET).read_bytes()


def test_cancelling_leaves_nothing(gallery: Any) -> None:
    before = sorted(gallery.files.iterdir())
    asked = iter(range(100))
    with pytest.raises(Cancelled):
        bake(gallery.registry, "shapes + soft", gallery.files / "out", cancelled=lambda: next(asked) > 3)
    assert sorted(gallery.files.iterdir()) == before


@pytest.fixture
def fused(gallery: Any) -> Path:
    """What diffusers saves after it fused soft at 0.8 and fast at 0.5 into the base."""
    pipe = StableDiffusionPipeline.from_pretrained(gallery.base, safety_checker=None, dtype=torch.float32)
    for name in ("soft", "fast"):
        pipe.load_lora_weights(str(gallery.files / f"{name}.safetensors"), adapter_name=name)
    pipe.set_adapters(["soft", "fast"], [0.8, 0.5])
    pipe.fuse_lora(adapter_names=["soft", "fast"])
    pipe.unload_lora_weights()
    pipe.save_pretrained(gallery.files / "fused")
    return Path(gallery.files / "fused")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*", "ignore:Already found a `peft_config`:UserWarning")
def test_a_checkpoint_that_diffusers_fused_is_proved_by_the_recipe_given_beside_it(gallery: Any, fused: Path) -> None:
    with pytest.raises(NotBaked, match="--recipe"):
        verify(gallery.registry, str(fused))
    proof = verify(gallery.registry, str(fused), recipe="shapes + 0.8*soft + 0.5*fast")
    assert isinstance(proof, BakeCertificate)
    assert proof.worst_relative_error < 1e-6
    assert [(one["name"], one["weight"]) for one in proof.inputs] == [
        ("shapes:1", 1.0),
        ("soft:1", 0.8),
        ("fast:1", 0.5),
    ]
    assert verify(gallery.registry, str(fused), recipe="0.8*soft + 0.5*fast", base="shapes").modules == proof.modules
    for wrong in ("shapes + 0.8*soft + 0.51*fast", "shapes + 0.8*soft"):
        with pytest.raises(BoundExceeded):
            verify(gallery.registry, str(fused), recipe=wrong)


def test_a_checkpoint_that_was_edited_or_whose_vector_changed_is_refused(gallery: Any) -> None:
    out, mine = gallery.files / "baked", gallery.files / "mine.safetensors"
    shutil.copy(gallery.files / "soft.safetensors", mine)
    save_file({key: 2 * tensor for key, tensor in load_file(mine).items()}, mine)
    bake(gallery.registry, f"shapes + 0.5*{mine}", out)
    verify(gallery.registry, str(out))
    shutil.copy(gallery.files / "fast.safetensors", mine)
    with pytest.raises(ChangedInput):
        verify(gallery.registry, str(out))
    tensors = weights(out)
    tensors["conv_in.bias"][0] += 1e-3
    save_file(tensors, out / UNET)
    with pytest.raises(BoundExceeded, match=r"conv_in\.bias: is not shapes:1's"):
        verify(gallery.registry, str(out), recipe="shapes + soft")


def test_a_vector_for_another_base_is_refused_before_anything_is_written(
    gallery: Any, base_folder: Path, vector_file: Path
) -> None:
    from workbench.intake.importing import import_file

    import_file(gallery.registry, base_folder, name="tiny")
    with pytest.raises(ValidationRefused, match="architecture-mismatch"):
        bake(gallery.registry, f"shapes + {vector_file}", gallery.files / "out")
    assert not (gallery.files / "out").exists()


def test_verify_of_a_vector_still_proves_vectors(gallery: Any) -> None:
    with pytest.raises(NotCertified):
        verify(gallery.registry, "soft")
    proof = verify(gallery.registry, "soft", recipe="1.0*soft")
    assert json.loads(proof.to_json())["worst_relative_error"] == 0


def test_shards_of_one_file_are_proved_and_unbaked_by_their_index(gallery: Any) -> None:
    folder = gallery.files / "shards"
    recipe, kept = f"{gallery.base / UNET} + 0.5*soft", gallery.files / "kept"
    bake(gallery.registry, recipe, folder / "out.safetensors", shard_bytes=200_000, residual=kept)
    index = folder / "out.safetensors.index.json"
    assert len(list(folder.glob("out-*.safetensors"))) > 1
    assert verify(gallery.registry, str(index)).worst_relative_error < 1e-6
    assert verify(gallery.registry, str(index), recipe=recipe).worst_relative_error < 1e-6
    with pytest.raises(BoundExceeded):
        verify(gallery.registry, str(index), recipe=recipe.replace("0.5", "0.6"))
    unbake(gallery.registry, index, kept, folder / "back.safetensors")
    assert (folder / "back.safetensors").read_bytes() == (gallery.base / UNET).read_bytes()


def test_an_index_of_unknown_shards_is_no_base(gallery: Any, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x-00001-of-00001.safetensors")
    index = {"metadata": {}, "weight_map": {"x": "x-00001-of-00001.safetensors"}}
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(NotABase, match="import its base"):
        verify(gallery.registry, str(tmp_path / "x.safetensors.index.json"), recipe="shapes + soft")

"""What a checkpoint proves of itself, whoever wrote it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from arithmetic.baking import bake, verify_bake
from arithmetic.errors import BoundExceeded, Cancelled, CertificateMismatch, ShapeMismatch
from arithmetic.resources import Resources
from arithmetic.weights import Weights, open_weights
from formats import Architecture

KINDS = ("folder", "file", "unet", "unet-folder")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [None, "fp16", "bf16"])
@pytest.mark.parametrize("shard_bytes", [None, 300_000])
def test_what_bake_writes_is_proved_again_with_the_same_errors(
    kind: str, dtype: str | None, shard_bytes: int | None, worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights(kind))], world.source(kind)
    certified = bake(bases, source, tmp_path / "out.safetensors", dtype=dtype, shard_bytes=shard_bytes)
    place = next(iter(tmp_path.glob("*.index.json")), tmp_path / "out.safetensors")
    proved = verify_bake(open_weights(place, world.table, "out"), bases, source)
    assert proved.modules == certified.modules
    assert (proved.moved, proved.untouched, proved.dtype.split("+")[0]) == (
        certified.moved,
        certified.untouched,
        certified.dtype.split("+")[0],
    )
    assert {name: proved.files[name] for name in proved.files} == {
        name: digest for name, digest in certified.files.items() if ".index." not in name
    }


def test_a_sum_of_bases_is_proved(worlds: Callable, other: object, tmp_path: Path) -> None:
    world = worlds("fp32")
    bases = [(0.25, world.weights("folder")), (0.75, other.weights("folder"))]
    bake(bases, None, tmp_path / "out")
    assert verify_bake(open_weights(tmp_path / "out", world.table), bases, None).worst_relative_error < 1e-6
    with pytest.raises(BoundExceeded, match="arithmetic error"):
        verify_bake(open_weights(tmp_path / "out", world.table), [(0.26, bases[0][1]), (0.74, bases[1][1])], None)


@pytest.fixture
def baked(worlds: Callable, tmp_path: Path) -> Callable[[], Weights]:
    """The baked file, opened; its certificate is taken away, so that the tensors alone are judged."""
    world = worlds("fp16")
    bake([(1.0, world.weights("file"))], world.source("file"), tmp_path / "out.safetensors")
    (tmp_path / "out.safetensors.certificate.json").unlink()
    return lambda: open_weights(tmp_path / "out.safetensors", world.table, "out")


def change(path: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


KEYS = {
    "changed": "model.diffusion_model.input_blocks.0.0.weight",
    "kept": "model.diffusion_model.out.2.weight",
    "carried": "first_stage_model.quant_conv.weight",
}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda t: t[KEYS["kept"]].view(-1)[3:4].mul_(1.01), "is not base's"),
        (lambda t: t[KEYS["carried"]].view(-1)[3:4].mul_(1.01), "is not base's"),
        (lambda t: t[KEYS["changed"]].view(-1)[3:4].add_(1.0), "arithmetic error"),
        (lambda t: t.pop(KEYS["kept"]), "is missing"),
        (lambda t: t.pop(KEYS["carried"]), "is missing"),
        (lambda t: t.update({"first_stage_model.extra": torch.ones(2)}), "is not in base"),
    ],
)
def test_a_tensor_that_is_another_is_missing_or_one_too_many_is_seen(
    edit: Callable, words: str, baked: Callable[[], Weights], worlds: Callable
) -> None:
    world = worlds("fp16")
    bases, source = [(1.0, world.weights("file"))], world.source("file")
    assert KEYS["kept"] in load_file(world.file)
    change(baked().path, lambda tensors: None)
    verify_bake(baked(), bases, source)
    change(baked().path, edit)
    with pytest.raises(BoundExceeded, match=words):
        verify_bake(baked(), bases, source)


def test_another_tools_conversion_is_proved_by_value_and_its_rounding_must_be_the_nearest(
    worlds: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights("file"))], world.source("file")
    bake(bases, source, tmp_path / "full.safetensors")
    half = {k: t.half() if t.is_floating_point() else t for k, t in load_file(tmp_path / "full.safetensors").items()}
    save_file(half, tmp_path / "half.safetensors")
    proved = verify_bake(open_weights(tmp_path / "half.safetensors", world.table), bases, source)
    assert 1e-6 < proved.worst_relative_error < 2e-3
    half[KEYS["kept"]] = torch.nextafter(half[KEYS["kept"]], torch.tensor(9.0, dtype=torch.float16))
    save_file(half, tmp_path / "half.safetensors")
    with pytest.raises(BoundExceeded, match=r"conv_out: is not base's"):
        verify_bake(open_weights(tmp_path / "half.safetensors", world.table), bases, source)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*", "ignore:Already found a `peft_config`:UserWarning")
def test_what_diffusers_fuses_and_saves_is_proved(worlds: Callable, planted: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    linear = {m: s.shape for m, s in world.table.modules.items() if m.endswith(("to_q", "to_k", "q_proj", "v_proj"))}
    source = planted(world.table, linear, size=0.05)
    state = {}
    for module, delta in source.modules.items():
        state[f"{module}.lora_A.weight"] = delta.down.float()
        state[f"{module}.lora_B.weight"] = delta.up.float() * delta.scale
    pipe = StableDiffusionPipeline.from_pretrained(world.folder, safety_checker=None, dtype=torch.float32)
    pipe.load_lora_weights(state)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    pipe.save_pretrained(tmp_path / "fused")
    written = open_weights(tmp_path / "fused", world.table, "fused")
    proved = verify_bake(written, [(1.0, world.weights("folder"))], source)
    assert proved.worst_relative_error < 1e-6
    assert set(proved.modules) == set(source.modules)
    assert not [name for name in proved.left_out if name.endswith(".safetensors")]
    with pytest.raises(BoundExceeded, match="arithmetic error"):
        verify_bake(written, [(1.0, world.weights("folder"))], planted(world.table, linear, size=0.06))


@pytest.mark.parametrize("stale", ["unet/diffusion_pytorch_model.fp16.safetensors", "vae/other.safetensors"])
def test_weights_beside_the_proved_ones_are_refused(stale: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights("folder"))], world.source("folder")
    bake(bases, source, tmp_path / "out")
    shutil.copy(world.folder / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "out" / stale)
    with pytest.raises(BoundExceeded, match="nothing in the recipe stands for"):
        verify_bake(open_weights(tmp_path / "out", world.table), bases, source)


def test_a_part_of_the_pipeline_that_was_changed_is_seen_and_a_text_is_named(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights("folder"))], world.source("folder")
    bake(bases, source, tmp_path / "out")
    (tmp_path / "out" / "scheduler" / "scheduler_config.json").write_text("{}")
    (tmp_path / "out" / "tokenizer" / "merges.txt").unlink(missing_ok=True)
    proved = verify_bake(open_weights(tmp_path / "out", world.table), bases, source)
    assert "scheduler/scheduler_config.json" in proved.left_out
    assert "scheduler/scheduler_config.json" not in proved.files
    vae = tmp_path / "out" / "vae" / "diffusion_pytorch_model.safetensors"
    change(vae, lambda tensors: tensors["quant_conv.weight"].view(-1)[:1].add_(1e-3))
    with pytest.raises(BoundExceeded, match=r"quant_conv\.weight: is not base's"):
        verify_bake(open_weights(tmp_path / "out", world.table), bases, source)


def test_the_certificate_beside_a_checkpoint_must_be_its_own(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights("unet"))], world.source("unet")
    bake(bases, source, tmp_path / "out")
    change(tmp_path / "out", lambda tensors: None)
    with pytest.raises(CertificateMismatch, match="other bytes"):
        verify_bake(open_weights(tmp_path / "out", world.table), bases, source)


def test_another_table_is_refused(worlds: Callable) -> None:
    world = worlds("fp32")
    table = Architecture("small", {"unet.conv_in": world.table.modules["unet.conv_in"]})
    with pytest.raises(ShapeMismatch, match="is small, base is shapes"):
        verify_bake(open_weights(world.unet, table), [(1.0, world.weights("unet"))], world.source("unet"))


def test_progress_counts_modules_and_may_stop_the_proof(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp32")
    bases, source = [(1.0, world.weights("unet"))], world.source("unet")
    bake(bases, source, tmp_path / "out")
    steps: list[tuple[int, int]] = []
    written = open_weights(tmp_path / "out", world.table)
    proved = verify_bake(written, bases, source, progress=lambda *step: steps.append(step))
    assert steps == [(i + 1, len(proved.modules)) for i in range(len(proved.modules))]
    one = verify_bake(written, bases, source, resources=Resources(workers=1), seed=7)
    assert one.modules.keys() == proved.modules.keys()
    assert one.modules != proved.modules

    def stop(done: int, total: int) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        verify_bake(written, bases, source, progress=stop)

"""Both trainings, from pictures to a file that others load, on every kind of base."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from arithmetic import open_vector
from demo import base_folder, write_velocity_base
from distill_jobs.adapters import LCD_TARGETS, injected
from distill_jobs.data.dataset import Dataset
from distill_jobs.kinds.lcd_lora import Distillation, LcdLoraSettings, distil
from distill_jobs.kinds.style import CaptionNoise, StyleLoss, StyleSettings, train_style
from distill_jobs.material.material import prepare
from distill_jobs.training.step import Step
from formats import Layout, architecture_of_folder, identify
from sampling import load_pipeline, paint

Silent = dict[str, Callable[..., Any]]
SHORT: dict[str, Any] = {"rank": 2, "steps": 3, "batch": 3, "warmup": 1, "learning_rate": 1e-2}
FOUR = torch.tensor([0, 1, 2, 3])


@pytest.fixture(scope="module")
def shapes_folder() -> Path:
    """The shipped base, which predicts noise."""
    return base_folder()


@pytest.fixture(scope="module")
def velocity_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped base that predicts v."""
    return write_velocity_base(tmp_path_factory.mktemp("velocity") / "shapes-v")


@pytest.fixture(scope="module")
def pruned_folder(sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny SDXL with a U-Net pruned as SSD-1B's: no attention in the middle, uneven numbers of layers."""
    pipe = load_pipeline(sdxl_folder)
    config = {
        **pipe.unet.config,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": (0, 2),
        "reverse_transformer_layers_per_block": ((2, 1), 0),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe.unet = UNet2DConditionModel.from_config(config)
    folder = tmp_path_factory.mktemp("pruned") / "small"
    pipe.save_pretrained(folder)
    return folder


CASES = [
    ("shapes_folder", Layout.KOHYA),
    ("velocity_folder", Layout.DIFFUSERS),
    ("sdxl_folder", Layout.KOHYA),
    ("sdxl_folder", Layout.DIFFUSERS),
    ("pruned_folder", Layout.KOHYA),
]


@pytest.mark.parametrize(("base", "layout"), CASES)
def test_an_acceleration_vector_is_distilled_and_loads(
    base: str, layout: Layout, dataset: Dataset, tmp_path: Path, silent: Silent, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(base)
    settings = LcdLoraSettings(**SHORT, w=3.0, layout=layout, sample_every=3, sample_prompts=("a large red circle",))
    path = distil(load_pipeline(folder), dataset, settings, folder=tmp_path, **silent)
    assert (tmp_path / "strip.png").exists()
    _require_agreement(folder, path, {"unet"})


@pytest.mark.parametrize(("base", "layout"), CASES)
def test_a_style_vector_is_trained_on_every_text_encoder_and_loads(
    base: str, layout: Layout, dataset: Dataset, tmp_path: Path, silent: Silent, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(base)
    settings = StyleSettings(**SHORT, text_encoder=True, layout=layout)
    pipe = load_pipeline(folder)
    path = train_style(pipe, dataset, settings, folder=tmp_path, **silent)
    encoders = {"text_encoder", "text_encoder_2"} if hasattr(pipe, "text_encoder_2") else {"text_encoder"}
    _require_agreement(folder, path, {"unet", *encoders})


def _require_agreement(folder: Path, path: Path, components: set[str]) -> None:
    """Our readers and diffusers find the same deltas, some of them not zero in each of `components`."""
    table = architecture_of_folder(folder, "own")
    found = identify(path, architectures=[table])
    assert (found.family.value, found.rank) == ("own", SHORT["rank"])
    vector = open_vector(path, table)
    assert {module.partition(".")[0] for module in vector.modules} == components
    plain, loaded = load_pipeline(folder), load_pipeline(folder)
    loaded.load_lora_weights(path)
    loaded.fuse_lora(components=sorted(components))
    loaded.unload_lora_weights()
    changed = set()
    for module in vector.modules:
        delta = vector.delta(module).dense().float()
        got = _weight(loaded, module) - _weight(plain, module)
        torch.testing.assert_close(got, delta.view_as(got), rtol=1e-3, atol=1e-6)
        changed |= {module.partition(".")[0]} if delta.abs().max() > 0 else set()
    assert changed == components


def _weight(pipe: Any, module: str) -> Tensor:
    component, _, name = module.partition(".")
    network = getattr(pipe, component)
    return network.get_submodule(name if hasattr(network, "text_model") else name.removeprefix("text_model.")).weight


def test_kohya_names_tell_sdxls_text_encoders_apart(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    path = train_style(sdxl_base, dataset, StyleSettings(**SHORT, text_encoder=True), folder=tmp_path, **silent)
    prefixes = {name.partition("_text_model")[0].partition("_down_")[0] for name in load_file(path)}
    assert {"lora_te1", "lora_te2"} < prefixes
    assert "lora_te" not in prefixes


def test_both_networks_and_encoders_are_left_as_they_were(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    networks = (sdxl_base.unet, sdxl_base.text_encoder, sdxl_base.text_encoder_2)
    before = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    train_style(sdxl_base, dataset, StyleSettings(**SHORT, text_encoder=True), folder=tmp_path, **silent)
    for network, kept in zip(networks, before, strict=True):
        after = network.state_dict()
        assert list(after) == list(kept)
        assert all(torch.equal(after[name], value) for name, value in kept.items())


def test_the_material_of_sdxl_is_text_sizes_and_zeros(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    wide = replace(dataset, entries=(replace(dataset.entries[0], size=(128, 64)), *dataset.entries[1:]))
    material = prepare(sdxl_base, wide, tmp_path)
    condition = material.condition(FOUR)
    nothing = material.unconditional(condition)
    assert condition.time_ids.tolist() == [[64, 128, 0, 32, 64, 64], *[[64, 64, 0, 0, 64, 64]] * 3]
    assert torch.equal(nothing.time_ids, condition.time_ids)
    assert not nothing.text.any()
    assert not nothing.pooled.any()
    assert dataset.captions[3] == ""
    assert condition.text[3].any()
    text, _, pooled, _ = sdxl_base.encode_prompt(
        [dataset.captions[i] for i in FOUR], device="cpu", do_classifier_free_guidance=False
    )
    torch.testing.assert_close(condition.text, text, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(condition.pooled, pooled, rtol=1e-5, atol=1e-5)


def test_the_teacher_of_sdxl_is_told_what_the_scripts_tell_it(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**SHORT, w=3.0)
    wide = replace(dataset, entries=tuple(replace(entry, size=(100, 90)) for entry in dataset.entries))
    material = prepare(sdxl_base, wide, tmp_path)
    condition = material.condition(FOUR)
    with injected(sdxl_base.unet, LCD_TARGETS, rank=2, alpha=2.0, seed=0) as adapter:
        distillation = Distillation(sdxl_base, adapter, material, settings)
        point = distillation.consistency.point(
            material.latents[FOUR], torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0)), FOUR * 16
        )
        got = distillation.teacher_step(point, condition)
    expected = _script_step(sdxl_base, point, [dataset.captions[i] for i in FOUR], settings.w)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def _script_step(pipe: Any, point: Any, captions: list[str], w: float) -> Tensor:
    """One guided DDIM step as SDXL's distillation script takes it: two passes, zeros, sizes kept (90 x 100)."""
    text, _, pooled, _ = pipe.encode_prompt(captions, device="cpu", do_classifier_free_guidance=False)
    sizes = torch.tensor([[90, 100, 0, 4, 64, 64]] * len(captions))
    abar = pipe.scheduler.alphas_cumprod.view(-1, 1, 1, 1)

    def answers(text: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        added = {"text_embeds": pooled, "time_ids": sizes}
        eps = pipe.unet(point.z, point.start, text, added_cond_kwargs=added).sample
        return (point.z - (1 - abar[point.start]).sqrt() * eps) / abar[point.start].sqrt(), eps

    told, nothing = answers(text, pooled), answers(torch.zeros_like(text), torch.zeros_like(pooled))
    x0, eps = (c + w * (c - u) for c, u in zip(told, nothing, strict=True))
    return abar[point.end].sqrt() * x0 + (1 - abar[point.end]).sqrt() * eps


@pytest.mark.parametrize("name", ["base", "sdxl_base"])
def test_embeddings_are_the_same_cached_or_encoded_in_training(
    name: str, dataset: Dataset, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    pipe = request.getfixturevalue(name)
    losses = [StyleLoss(pipe, dataset, StyleSettings(**SHORT, text_encoder=on), tmp_path) for on in (False, True)]
    with torch.no_grad():
        cached, encoded = (loss.told(torch.tensor([2, 0, 2, 1]), FOUR) for loss in losses)
        assert losses[0](Step(0, 0, 3)).item() == pytest.approx(losses[1](Step(0, 0, 3)).item(), rel=1e-5)
    torch.testing.assert_close(cached.text, encoded.text, rtol=1e-5, atol=1e-5)
    if cached.pooled is not None:
        torch.testing.assert_close(cached.pooled, encoded.pooled, rtol=1e-5, atol=1e-5)
        assert torch.equal(cached.time_ids, encoded.time_ids)


def test_a_wrong_caption_keeps_the_pictures_own_size(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = StyleSettings(**SHORT, caption_noise=CaptionNoise(wrong=1.0, empty=0.0))
    wide = replace(dataset, entries=(replace(dataset.entries[0], size=(128, 64)), *dataset.entries[1:]))
    loss = StyleLoss(sdxl_base, wide, settings, tmp_path)
    told = loss.told(torch.tensor([3, 0]), torch.tensor([0, 1]))
    assert told.time_ids.tolist() == [[64, 128, 0, 32, 64, 64], [64, 64, 0, 0, 64, 64]]
    assert not told.text[1].any()


def test_a_distilled_sdxl_paints_with_its_vector(
    fresh_sdxl: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    def latents() -> Tensor:
        return paint(fresh_sdxl, ["a large red circle"], solver="lcm", steps=2, guidance=1.0, seeds=[1]).latents

    plain = latents()
    fresh_sdxl.load_lora_weights(distil(fresh_sdxl, dataset, LcdLoraSettings(**SHORT), folder=tmp_path, **silent))
    assert (latents() - plain).abs().max() > 1e-4


def test_a_style_of_sdxl_trains_in_bfloat16_and_leaves_single_precision_behind(
    sdxl_base: StableDiffusionXLPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    settings = StyleSettings(**SHORT, text_encoder=True, dtype="bf16")
    weights = load_file(train_style(sdxl_base, dataset, settings, folder=tmp_path, **silent))
    ups = {name: value for name, value in weights.items() if "lora_te2" in name and name.endswith("lora_up.weight")}
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert any(value.any() for value in ups.values())
    assert {p.dtype for n in (sdxl_base.unet, sdxl_base.text_encoder_2) for p in n.parameters()} == {torch.float32}

"""Style training: the loss, caption noise, the text encoder, the three layouts, every option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor

from distill_jobs.bases.conditioning import token_ids
from distill_jobs.data.dataset import Dataset
from distill_jobs.kinds.style import CaptionNoise, StyleLoss, StyleSettings, noisy_rows, train_style
from distill_jobs.progress import Progress
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.step import Step

Silent = dict[str, Callable[..., Any]]
SHORT: dict[str, Any] = {"rank": 4, "steps": 4, "batch": 3, "warmup": 1, "checkpoint_every": 2}


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_is_the_mean_squared_error_of_what_the_base_predicts(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, prediction: str
) -> None:
    fresh_base.scheduler.register_to_config(prediction_type=prediction)
    settings = StyleSettings(**SHORT, caption_noise={"empty": 0.0})
    loss = StyleLoss(fresh_base, dataset, settings, tmp_path)
    step = Step(2, 0, 3)
    with torch.no_grad():
        got = loss(step).item()
        expected = _independent_loss(fresh_base, dataset, loss.material.latents, step, prediction)
    assert got == pytest.approx(expected, rel=1e-5)


def test_caption_noise_replaces_the_asked_shares() -> None:
    rows, chosen = torch.arange(1, 11), torch.arange(10).repeat(2000)
    generator = torch.Generator().manual_seed(0)
    got = noisy_rows(rows, chosen, CaptionNoise(wrong=0.4, empty=0.1), generator)
    assert (got == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    kept = (got == rows[chosen])[got != 0].float().mean().item()
    assert kept == pytest.approx(0.6 + 0.4 / 10, abs=0.01)
    assert torch.equal(noisy_rows(rows, chosen, CaptionNoise(empty=0.0), generator), rows[chosen])


def test_embeddings_from_the_cache_are_those_of_the_text_encoder(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    losses = [StyleLoss(base, dataset, StyleSettings(**SHORT, text_encoder=on), tmp_path) for on in (False, True)]
    rows, chosen = torch.tensor([2, 0, 2, 1]), torch.arange(4)
    with torch.no_grad():
        cached, encoded = (loss.told(rows, chosen).text for loss in losses)
    torch.testing.assert_close(cached, encoded, rtol=1e-5, atol=1e-5)


CHANGES: list[dict[str, Any]] = [
    {"rank": 5},
    {"alpha": 2.0},
    {"steps": 5},
    {"batch": 4},
    {"learning_rate": 1e-4},
    {"schedule": "constant"},
    {"schedule": "linear"},
    {"warmup": 3},
    {"weight_decay": 0.5},
    {"gradient_clip": 1e-9},
    {"ema_rate": 0.9},
    {"seed": 1},
    {"targets": ("to_q", "to_k")},
    {"text_encoder": True},
    {"caption_noise": {"wrong": 0.9, "empty": 0.1}},
    {"caption_noise": {"empty": 0.9}},
    {"layout": "diffusers"},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(f"{k}={v}" for k, v in change.items()))
def test_changing_an_option_changes_the_result(
    base: StableDiffusionPipeline,
    dataset: Dataset,
    reference: dict[str, Tensor],
    tmp_path: Path,
    silent: Silent,
    change: Any,
) -> None:
    got = load_file(train_style(base, dataset, StyleSettings(**{**SHORT, **change}), folder=tmp_path, **silent))
    assert set(got) != set(reference) or any(not torch.equal(got[name], reference[name]) for name in got)


def test_every_setting_has_a_change_that_is_tested() -> None:
    strip, kept = {"sample_every", "sample_prompts", "sample_guidance"}, {"checkpoint_every", "keep_last"}
    elsewhere = strip | kept | {*ComputeSettings.model_fields}
    assert {name for change in CHANGES for name in change} | elsewhere == set(StyleSettings.model_fields)


def test_the_guidance_of_the_strip_changes_the_strip_and_not_the_vector(
    base: StableDiffusionPipeline, dataset: Dataset, reference: dict[str, Tensor], tmp_path: Path
) -> None:
    strips: list[np.ndarray] = []

    def keep(progress: Progress) -> None:
        if progress.strip:
            strips.append(np.asarray(Image.open(progress.strip)))

    for guidance in (1.0, 8.0):
        settings = StyleSettings(
            **SHORT, sample_every=4, sample_prompts=("a large red circle",), sample_guidance=guidance
        )
        path = train_style(
            base, dataset, settings, folder=tmp_path / str(guidance), report=keep, cancelled=lambda: None
        )
        got = load_file(path)
        assert all(torch.equal(got[name], reference[name]) for name in reference)
    assert len(strips) == 2
    assert not np.array_equal(strips[0], strips[1])


def test_a_text_encoder_is_trained_beside_the_unet_and_both_are_left_as_they_were(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    before = {name: value.clone() for name, value in base.text_encoder.state_dict().items()}
    path = train_style(base, dataset, StyleSettings(**SHORT, text_encoder=True), folder=tmp_path, **silent)
    ups = {name: value for name, value in load_file(path).items() if name.endswith("lora_up.weight")}
    trained = [name for name in ups if name.startswith("lora_te_text_model_encoder_layers_0_self_attn_")]
    assert {name.split("self_attn_")[1].split(".")[0] for name in trained} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    assert all(ups[name].abs().max() > 0 for name in trained)
    after = base.text_encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_loss_falls(base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> None:
    losses: list[float] = []
    settings = StyleSettings(
        steps=40, batch=4, learning_rate=1e-2, targets=("to_q", "to_k", "to_v", "to_out.0", "conv2")
    )
    train_style(
        base,
        dataset,
        settings,
        folder=tmp_path,
        report=lambda progress: losses.append(progress.loss),
        cancelled=lambda: None,
    )
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


@pytest.mark.parametrize(
    "wrong", [{"caption_noise": {"wrong": 2}}, {"caption_noise": {"dropped": 0.1}}, {"layout": "comfy"}]
)
def test_settings_that_are_unknown_or_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StyleSettings(**wrong)


@pytest.fixture(scope="module")
def reference(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """What the short settings give."""
    folder = tmp_path_factory.mktemp("reference")
    path = train_style(
        base, dataset, StyleSettings(**SHORT), folder=folder, report=lambda progress: None, cancelled=lambda: None
    )
    return load_file(path)


def _independent_loss(
    pipe: StableDiffusionPipeline, dataset: Dataset, latents: Tensor, step: Step, prediction: str
) -> float:
    """Ordinary denoising training with diffusers' own scheduler, from the same random draws."""
    chosen, generator = step.choice(len(latents)), step.generator()
    for _ in range(2):
        torch.rand(3, generator=generator)
    torch.randint(len(latents), (3,), generator=generator)
    timesteps = torch.randint(1000, (3,), generator=generator)
    noise = torch.randn(latents[chosen].shape, generator=generator)
    z = pipe.scheduler.add_noise(latents[chosen], noise, timesteps)
    text = pipe.text_encoder(*token_ids(pipe, [dataset.captions[i] for i in chosen]))[0]
    output = pipe.unet(z, timesteps, text).sample
    truth = {
        "epsilon": noise,
        "sample": latents[chosen],
        "v_prediction": pipe.scheduler.get_velocity(latents[chosen], noise, timesteps),
    }
    return float((output - truth[prediction]).square().mean())

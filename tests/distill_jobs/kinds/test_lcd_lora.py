"""Distillation: the loss against an independent computation, every option, and resumption to the last bit."""

import copy
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

from distill_jobs.adapters import LCD_TARGETS, InjectedAdapter, injected
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import Interrupted
from distill_jobs.kinds.lcd_lora import Distillation, LcdLoraSettings, distil
from distill_jobs.material.material import prepare
from distill_jobs.progress import Progress
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.step import Step

Silent = dict[str, Callable[..., Any]]
SHORT: dict[str, Any] = {"rank": 4, "steps": 4, "batch": 3, "warmup": 1, "w": 4.0, "checkpoint_every": 2}


@pytest.mark.parametrize("loss", ["l2", "huber"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_equals_one_computed_with_three_separate_networks(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, loss: str, prediction: str
) -> None:
    fresh_base.scheduler.register_to_config(prediction_type=prediction)
    settings = LcdLoraSettings(**SHORT, loss=loss, noise_weighting=0.5)
    teacher = copy.deepcopy(fresh_base.unet).double()
    material = prepare(fresh_base, dataset, tmp_path)
    step = Step(1, settings.seed, settings.batch)
    with injected(fresh_base.unet, LCD_TARGETS, rank=4, alpha=6.0, seed=0) as adapter:
        _fill(adapter)
        through_factors = Distillation(fresh_base, adapter, material, settings, fold_limit=0).loss(step).item()
        folded = Distillation(fresh_base, adapter, material, settings).loss(step).item()
        student = _merged(teacher, adapter)
    expected = _independent_loss(teacher, student, material, settings, prediction, step)
    assert through_factors == pytest.approx(expected, rel=2e-4)
    assert folded == pytest.approx(expected, rel=2e-4)


def test_gradients_are_the_same_folded_or_through_the_factors(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    settings = LcdLoraSettings(**SHORT, loss="l2")
    material = prepare(base, dataset, tmp_path)
    gradients = []
    for limit in (0, 10**9):
        with injected(base.unet, LCD_TARGETS, rank=4, alpha=6.0, seed=0) as adapter:
            _fill(adapter)
            Distillation(base, adapter, material, settings, fold_limit=limit).loss(Step(0, 0, 3)).backward()
            gradients.append({name: parameter.grad for name, parameter in adapter.parameters().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-4)


def test_the_loss_falls_and_the_student_approaches_the_teacher(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    losses: list[float] = []
    distil(
        base,
        dataset,
        LcdLoraSettings(steps=40, batch=8, rank=8, w=1.0, learning_rate=5e-3, loss="l2"),
        folder=tmp_path,
        report=lambda progress: losses.append(progress.loss),
        cancelled=lambda: None,
    )
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


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
    {"targets": ("to_q", "conv1")},
    {"w": 2.0},
    {"num_ddim_timesteps": 25},
    {"loss": "l2"},
    {"huber_c": 0.1},
    {"noise_weighting": 1.0},
    {"caption_dropout": 0.5},
    {"trajectories": 1},
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
    settings = LcdLoraSettings(**{**SHORT, **change})
    got = load_file(distil(base, dataset, settings, folder=tmp_path, **silent))
    assert set(got) != set(reference) or any(not torch.equal(got[name], reference[name]) for name in got)


def test_the_same_settings_give_the_same_bits(
    base: StableDiffusionPipeline, dataset: Dataset, reference: dict[str, Tensor], tmp_path: Path, silent: Silent
) -> None:
    got = load_file(distil(base, dataset, LcdLoraSettings(**SHORT), folder=tmp_path, **silent))
    assert all(torch.equal(got[name], reference[name]) for name in reference)


def test_every_setting_has_a_change_that_is_tested() -> None:
    strip = {"sample_every", "sample_prompts"}  # tested with the strip
    elsewhere = {*ComputeSettings.model_fields, "trajectory_check_every"}
    kept = {"checkpoint_every", "keep_last", "evaluation"}  # tested with the checkpoints and the examination
    tested = {name for change in CHANGES for name in change} | strip | elsewhere | kept
    assert tested == set(LcdLoraSettings.model_fields)


def test_stopped_and_resumed_it_ends_at_the_same_bits(
    base: StableDiffusionPipeline, dataset: Dataset, reference: dict[str, Tensor], tmp_path: Path, silent: Silent
) -> None:
    seen: list[Progress] = []
    with pytest.raises(Interrupted):
        distil(
            base,
            dataset,
            LcdLoraSettings(**SHORT),
            folder=tmp_path,
            report=seen.append,
            cancelled=lambda: "cancel" if len(seen) == 1 else None,
        )
    resumed = load_file(distil(base, dataset, LcdLoraSettings(**SHORT), folder=tmp_path, **silent))
    assert max((resumed[name] - reference[name]).abs().max().item() for name in reference) == 0.0


def test_the_base_is_left_as_it_was(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    before = {name: value.clone() for name, value in base.unet.state_dict().items()}
    distil(base, dataset, LcdLoraSettings(**SHORT), folder=tmp_path, **silent)
    after = base.unet.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_the_strip_is_repainted_from_the_same_noise_for_every_prompt(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    strips: list[np.ndarray] = []

    def keep(progress: Progress) -> None:
        if progress.strip:
            strips.append(np.asarray(Image.open(progress.strip)))

    prompts = ("a large red circle", "a small blue square")
    settings = LcdLoraSettings(**{**SHORT, "learning_rate": 0.05}, sample_every=2, sample_prompts=prompts)
    distil(base, dataset, settings, folder=tmp_path, report=keep, cancelled=lambda: None)
    assert [strip.shape for strip in strips] == [(64, 128, 3)] * 2
    assert not np.array_equal(strips[0], strips[1])
    assert not np.array_equal(strips[0][:, :64], strips[0][:, 64:])


def test_a_strip_does_not_disturb_the_training(
    base: StableDiffusionPipeline, dataset: Dataset, reference: dict[str, Tensor], tmp_path: Path, silent: Silent
) -> None:
    settings = LcdLoraSettings(**SHORT, sample_every=1, sample_prompts=("a large red circle",))
    got = load_file(distil(base, dataset, settings, folder=tmp_path, **silent))
    assert all(torch.equal(got[name], reference[name]) for name in reference)


@pytest.mark.parametrize("wrong", [{"w": -1}, {"loss": "l1"}, {"num_ddim_timesteps": 0}, {"guidance": 7.5}])
def test_settings_that_are_unknown_or_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LcdLoraSettings(**wrong)


@pytest.fixture(scope="module")
def reference(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Tensor]:
    """What the short settings give, uninterrupted."""
    folder = tmp_path_factory.mktemp("reference")
    path = distil(
        base, dataset, LcdLoraSettings(**SHORT), folder=folder, report=lambda progress: None, cancelled=lambda: None
    )
    return load_file(path)


@torch.no_grad()
def _fill(adapter: InjectedAdapter) -> None:
    generator = torch.Generator().manual_seed(1)
    for value in adapter.parameters().values():
        value.copy_(0.05 * torch.randn(value.shape, generator=generator))


@torch.no_grad()
def _merged(teacher: torch.nn.Module, adapter: InjectedAdapter) -> torch.nn.Module:
    """A copy of the teacher with alpha / rank up down added to every adapted weight."""
    student = copy.deepcopy(teacher)
    for module, factors in adapter.factors(adapter.parameters()).items():
        weight = student.get_submodule(module).weight
        up, down = factors.up.double().flatten(1), factors.down.double().flatten(1)
        weight.add_((factors.alpha / down.shape[0] * up @ down).view_as(weight))
    return student


@torch.no_grad()
def _independent_loss(
    teacher: Any, student: Any, material: Any, settings: LcdLoraSettings, prediction: str, step: Step
) -> float:
    """LCD as the published scripts write it, float64, two teacher calls, from the same random draws."""
    abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    chosen, generator = step.choice(len(material.rows)), step.generator()
    index = torch.randint(50, (settings.batch,), generator=generator)
    latents = material.latents[chosen].double()
    noise = torch.randn(latents.shape, generator=generator).double()
    text = material.conditions.text[material.rows[chosen]].double()
    start = index * 20 + 19
    end = (start - 20).clamp(min=0)

    def column(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    def split(network: Any, z: Tensor, t: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        a, s = column(abar[t]).sqrt(), column(1 - abar[t]).sqrt()
        out = network(z, t, c, return_dict=False)[0]
        x0 = {"epsilon": (z - s * out) / a, "v_prediction": a * z - s * out, "sample": out}[prediction]
        eps = {"epsilon": out, "v_prediction": a * out + s * z, "sample": (z - a * out) / s}[prediction]
        return x0, eps

    def consistency(z: Tensor, t: Tensor) -> Tensor:
        scaled = column(t) * 10.0
        skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
        return skip * z + out * split(student, z, t, text)[0]

    z = column(abar[start]).sqrt() * latents + column(1 - abar[start]).sqrt() * noise
    x0_c, eps_c = split(teacher, z, start, text)
    x0_u, eps_u = split(teacher, z, start, material.conditions.text[:1].double().expand_as(text))
    x0, eps = x0_c + settings.w * (x0_c - x0_u), eps_c + settings.w * (eps_c - eps_u)
    previous = column(abar[end]).sqrt() * x0 + column(1 - abar[end]).sqrt() * eps
    difference = consistency(z, start) - consistency(previous, end)
    c = settings.huber_c
    distance = difference**2 if settings.loss == "l2" else (difference**2 + c**2).sqrt() - c
    sigma = (1 - abar[torch.arange(50) * 20 + 19]).sqrt() ** settings.noise_weighting
    weights = (sigma / sigma.mean())[index]
    return float((distance.mean(dim=(1, 2, 3)) * weights).mean())

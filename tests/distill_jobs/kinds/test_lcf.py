"""Consistency fine-tuning: the loss against an independent computation, its fixed point, and the sum that it is for."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor, nn

from arithmetic import open_vector
from distill_jobs import consistency
from distill_jobs.adapters import fused, injected
from distill_jobs.bases.conditioning import Condition
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import UnsupportedBase
from distill_jobs.kinds.lcf import FineTuning, LcfLoraSettings, LcfSettings, tune_vector
from distill_jobs.material.material import Material, prepare
from distill_jobs.models import ConsistencyModel
from distill_jobs.training.step import Step
from formats import architecture_of_folder
from sampling import attach, load_pipeline, set_strengths
from sampling.guidance import guidance_embedding

Silent = dict[str, Callable[..., Any]]


@pytest.mark.parametrize("loss", ["l2", "huber"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("is_told", [False, True])
def test_the_loss_equals_one_computed_in_float64_with_two_networks(
    base_folder: Path,
    distilled_folder: Path,
    dataset: Dataset,
    tmp_path: Path,
    loss: str,
    prediction: str,
    is_told: bool,
) -> None:
    pipe = load_pipeline(distilled_folder if is_told else base_folder)
    pipe.scheduler.register_to_config(prediction_type=prediction)
    settings = LcfSettings(batch=4, loss=loss, noise_weighting=0.5)
    material = prepare(pipe, dataset, tmp_path)
    target = _disturbed(pipe.unet)
    model = ConsistencyModel(
        pipe.unet, dict(pipe.unet.named_parameters()), consistency.schedule_of(pipe.scheduler), settings
    )
    weights = dict(target.named_parameters())
    step, guidance = Step(1, settings.seed, settings.batch), (1.0, 6.0) if is_told else None
    got = FineTuning(model, material, settings, weights, guidance).loss(step).item()
    networks = (copy.deepcopy(network).double() for network in (pipe.unet, target))
    assert got == pytest.approx(_independent_loss(*networks, material, settings, prediction, step, guidance), rel=2e-4)


class Constant(nn.Module):
    """Sees the picture `x0` behind everything, plus `slope` times the share of noise: an x0-predicting network."""

    def __init__(self, x0: Tensor, slope: float) -> None:
        super().__init__()
        self.register_buffer("x0", x0)
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, z: Tensor, timesteps: Tensor, **told: Any) -> tuple[Tensor]:
        """(B, C, H, W) for every z of that shape."""
        return (self.x0 + self.slope * (timesteps / 1000).view(-1, 1, 1, 1),)


@pytest.mark.parametrize(("slope", "is_still"), [(0.0, True), (0.5, False)])
def test_a_perfect_consistency_function_has_no_gradient(slope: float, is_still: bool) -> None:
    x0 = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    material = Material(x0, Condition(torch.zeros(1, 1, 1)), torch.zeros(1, dtype=torch.int64))
    abar = torch.linspace(0.9999**0.5, 0.07, 1000, dtype=torch.float64) ** 2
    schedule = consistency.Schedule(abar.sqrt(), (1 - abar).sqrt(), consistency.Prediction.sample)
    network = Constant(x0, slope)
    parameters = dict(network.named_parameters())
    settings = LcfSettings(batch=64, loss="l2", num_ddim_timesteps=4)
    model = ConsistencyModel(network, parameters, schedule, settings)
    FineTuning(model, material, settings, parameters).loss(Step(0, 0, 64)).backward()
    assert parameters["slope"].grad is not None
    assert (abs(parameters["slope"].grad.item()) < 1e-3) is is_still


def test_the_training_sees_base_plus_acceleration(
    fresh_base: StableDiffusionPipeline, base_folder: Path, acceleration: Any
) -> None:
    beside = load_pipeline(base_folder)
    attach(beside, {"fast": acceleration})
    set_strengths(beside, {"fast": 1.0})
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 7, fresh_base.unet.config.cross_attention_dim, generator=generator)
    before = {name: value.clone() for name, value in fresh_base.unet.state_dict().items()}
    with torch.no_grad():
        expected = beside.unet(z, 500, text).sample
        with fused(fresh_base.unet, acceleration):
            got = fresh_base.unet(z, 500, text).sample
        alone = fresh_base.unet(z, 500, text).sample
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert (alone - expected).abs().max() > 0.01
    assert all(torch.equal(value, before[name]) for name, value in fresh_base.unet.state_dict().items())


def test_the_style_and_its_acceleration_vector_add_up_to_what_was_trained(
    base: StableDiffusionPipeline,
    base_folder: Path,
    acceleration: Any,
    dataset: Dataset,
    tmp_path: Path,
    silent: Silent,
) -> None:
    settings = LcfLoraSettings(steps=3, batch=2, rank=4, learning_rate=0.02)
    path = tune_vector(base, acceleration, dataset, settings, folder=tmp_path, **silent)
    table = architecture_of_folder(base_folder, "small")
    together = load_pipeline(base_folder)
    attach(together, {"fast": acceleration, "mine": open_vector(path, table, name="mine")})
    set_strengths(together, {"fast": 1.0, "mine": 1.0})
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 7, base.unet.config.cross_attention_dim, generator=generator)
    trained = load_file(path)
    with torch.no_grad(), fused(base.unet, acceleration):
        without = base.unet(z, 500, text).sample
        with injected(base.unet, settings.targets, rank=4, alpha=4.0, seed=0) as adapter:
            for name, value in adapter.parameters().items():
                module, _, side = name.rpartition(".")
                value.copy_(trained[f"lora_unet_{module.replace('.', '_')}.lora_{side}.weight"])
            expected = base.unet(z, 500, text).sample
    got = together.unet(z, 500, text).sample
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
    assert (expected - without).abs().max() > 0.01


def test_training_lowers_the_loss_on_the_very_same_draws(
    base: StableDiffusionPipeline, acceleration: Any, dataset: Dataset, tmp_path: Path
) -> None:
    late = []
    for rate in (1e-9, 0.02):
        losses: list[float] = []
        tune_vector(
            base,
            acceleration,
            dataset,
            LcfLoraSettings(steps=25, batch=8, learning_rate=rate, warmup=1, loss="l2", num_ddim_timesteps=8),
            folder=tmp_path / f"{rate}",
            report=lambda progress, losses=losses: losses.append(progress.loss),
            cancelled=lambda: None,
        )
        late.append(sum(losses[-10:]))
    assert late[1] < 0.9 * late[0]


def test_a_vector_of_another_base_is_refused(base: StableDiffusionPipeline, acceleration: Any) -> None:
    other = copy.deepcopy(base.unet)
    other.conv_in = nn.Identity()
    module = next(iter(acceleration.modules)).removeprefix("unet.")
    other.set_submodule(module, nn.Identity())
    with pytest.raises(UnsupportedBase, match="has no module"), fused(other, acceleration):
        pass
    other.set_submodule(module, nn.Linear(3, 5))
    with pytest.raises(UnsupportedBase, match="the base's has 15"), fused(other, acceleration):
        pass


@torch.no_grad()
def _disturbed(unet: nn.Module) -> Any:
    target, generator = copy.deepcopy(unet), torch.Generator().manual_seed(4)
    for value in target.parameters():
        value.add_(0.02 * torch.randn(value.shape, generator=generator))
    return target


@torch.no_grad()
def _independent_loss(
    student: Any,
    target: Any,
    material: Any,
    settings: LcfSettings,
    prediction: str,
    step: Step,
    guidance: tuple[float, float] | None,
) -> float:
    """Both ends noised with the same noise, float64, from the same random draws."""
    abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    chosen, generator = step.choice(len(material.rows)), step.generator()
    index = torch.randint(50, (settings.batch,), generator=generator)
    latents = material.latents[chosen].double()
    noise = torch.randn(latents.shape, generator=generator).double()
    told = None
    if guidance is not None:
        w = guidance[0] + (guidance[1] - guidance[0]) * torch.rand(settings.batch, generator=generator)
        told = guidance_embedding(w).double()
    text = material.conditions.text[material.rows[chosen]].double()
    start = index * 20 + 19
    end = (start - 20).clamp(min=0)

    def column(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    def noised(t: Tensor) -> Tensor:
        return column(abar[t]).sqrt() * latents + column(1 - abar[t]).sqrt() * noise

    def f(network: Any, t: Tensor) -> Tensor:
        z, a, s = noised(t), column(abar[t]).sqrt(), column(1 - abar[t]).sqrt()
        out = network(z, t, text, timestep_cond=told, return_dict=False)[0]
        x0 = {"epsilon": (z - s * out) / a, "v_prediction": a * z - s * out, "sample": out}[prediction]
        scaled = column(t) * 10.0
        return 0.25 / (scaled**2 + 0.25) * z + scaled / (scaled**2 + 0.25).sqrt() * x0

    difference = f(student, start) - f(target, end)
    c = settings.huber_c
    distance = difference**2 if settings.loss == "l2" else (difference**2 + c**2).sqrt() - c
    sigma = (1 - abar[torch.arange(50) * 20 + 19]).sqrt() ** settings.noise_weighting
    return float((distance.mean(dim=(1, 2, 3)) * (sigma / sigma.mean())[index]).mean())

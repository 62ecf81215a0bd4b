"""Distillation of whole U-Nets: the loss against an independent computation, the target, and the exported base."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, StableDiffusionPipeline
from torch import Tensor

from distill_jobs import consistency
from distill_jobs.bases.distilled import export_base, student_of, with_unet
from distill_jobs.data.dataset import Dataset
from distill_jobs.kinds.lcd import GuidedDistillation, LcdSettings, distil_base
from distill_jobs.material.material import prepare
from distill_jobs.models import ConsistencyModel
from distill_jobs.training.step import Step
from distill_jobs.training.trainer import Trainer
from sampling import load_pipeline, paint

Silent = dict[str, Callable[..., Any]]


@pytest.mark.parametrize("loss", ["l2", "huber"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_the_loss_equals_one_computed_in_float64_with_three_networks(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, loss: str, prediction: str
) -> None:
    fresh_base.scheduler.register_to_config(prediction_type=prediction)
    settings = LcdSettings(batch=4, w_min=1.0, w_max=6.0, loss=loss, noise_weighting=0.5, num_ddim_timesteps=50)
    material = prepare(fresh_base, dataset, tmp_path)
    student, target = _disturbed(fresh_base.unet, 1), _disturbed(fresh_base.unet, 2)
    model = ConsistencyModel(
        student, dict(student.named_parameters()), consistency.schedule_of(fresh_base.scheduler), settings
    )
    weights = {name: value.detach() for name, value in target.named_parameters()}
    step = Step(1, settings.seed, settings.batch)
    got = GuidedDistillation(fresh_base.unet, model, material, settings, weights).loss(step).item()
    networks = (copy.deepcopy(network).double() for network in (fresh_base.unet, student, target))
    assert got == pytest.approx(_independent_loss(*networks, material, settings, prediction, step), rel=2e-4)


def test_the_student_starts_as_its_teacher_whatever_it_is_told(base: StableDiffusionPipeline) -> None:
    student = student_of(base.unet)
    z, text = _inputs(base)
    told = torch.randn(2, 256, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = base.unet(z, 999, text).sample
        assert torch.equal(student(z, 999, text, timestep_cond=told).sample, theirs)
    assert base.unet.config.time_cond_proj_dim is None
    assert student.config.time_cond_proj_dim == 256


def test_the_layer_that_embeds_guidance_learns_from_the_first_step(base: StableDiffusionPipeline) -> None:
    student = student_of(base.unet)
    z, text = _inputs(base)
    student(z, 999, text, timestep_cond=torch.ones(2, 256)).sample.square().mean().backward()
    assert student.time_embedding.cond_proj.weight.grad.abs().min() > 0


def test_the_target_follows_the_student_as_its_law_says(base: StableDiffusionPipeline) -> None:
    parameter = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    trainer = Trainer({"p": parameter}, LcdSettings(learning_rate=0.5, warmup=0), "test", target_rate=0.75)
    expected = parameter.detach().clone()
    for _ in range(5):
        trainer.update((parameter - 3).square().sum())
        expected = 0.75 * expected + 0.25 * parameter.detach()
        torch.testing.assert_close(trainer.target["p"], expected, rtol=1e-12, atol=1e-12)
    assert Trainer({"p": parameter}, LcdSettings(), "test").target["p"] is parameter


def test_no_gradient_reaches_the_teacher_or_the_target(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    student = student_of(base.unet)
    settings = LcdSettings(batch=2)
    schedule = consistency.schedule_of(base.scheduler)
    model = ConsistencyModel(student, dict(student.named_parameters()), schedule, settings)
    target = {name: value.detach().clone().requires_grad_() for name, value in student.named_parameters()}
    distillation = GuidedDistillation(base.unet, model, prepare(base, dataset, tmp_path), settings, target)
    distillation.loss(Step(0, 0, 2)).backward()
    assert all(value.grad is None for value in target.values())
    assert all(value.grad is not None for value in student.parameters())


def test_training_lowers_the_loss_on_the_very_same_draws(
    base: StableDiffusionPipeline, base_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    late = []
    for rate in (1e-9, 5e-4):
        losses: list[float] = []
        distil_base(
            base,
            base_folder,
            dataset,
            LcdSettings(steps=40, batch=8, w_min=1, w_max=2, learning_rate=rate, warmup=1, target_rate=0.5, loss="l2"),
            folder=tmp_path / f"{rate}",
            report=lambda progress, losses=losses: losses.append(progress.loss),
            cancelled=lambda: None,
        )
        late.append(sum(losses[-10:]))
    assert late[1] < 0.8 * late[0]


def test_the_result_paints_in_diffusers_own_pipeline_what_it_paints_here(
    base: StableDiffusionPipeline, base_folder: Path, dataset: Dataset, tmp_path: Path, silent: Silent
) -> None:
    settings = LcdSettings(steps=3, batch=2, learning_rate=0.01)
    folder = distil_base(base, base_folder, dataset, settings, folder=tmp_path, **silent)
    prompt = ["a large red circle"]
    ours = paint(load_pipeline(folder), prompt, solver="lcm", steps=4, guidance=8.5, seeds=[5]).latents
    theirs = LatentConsistencyModelPipeline.from_pretrained(folder, safety_checker=None)
    theirs.set_progress_bar_config(disable=True)
    generator = [torch.Generator().manual_seed(5)]
    painted = theirs(prompt, num_inference_steps=4, generator=generator, height=64, width=64, output_type="latent")
    assert torch.equal(ours, painted.images)


def test_the_result_shares_all_but_its_unet_and_scheduler_with_the_base(
    base: StableDiffusionPipeline, base_folder: Path, tmp_path: Path
) -> None:
    folder = export_base(with_unet(base, student_of(base.unet)), base_folder, tmp_path / "model", {"steps": 3})
    files = {path.relative_to(base_folder) for path in base_folder.rglob("*") if path.is_file()}
    shared = {path for path in files if path.parts[0] not in ("unet", "scheduler", "model_index.json")}
    assert shared
    assert all((folder / path).read_bytes() == (base_folder / path).read_bytes() for path in shared)
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == files | {Path("training.json")}
    assert str(base_folder) not in (folder / "unet" / "config.json").read_text()


def test_exporting_again_writes_the_same_bytes_and_leaves_nothing_beside_them(
    base: StableDiffusionPipeline, base_folder: Path, tmp_path: Path
) -> None:
    student = with_unet(base, student_of(base.unet))
    written = []
    for _ in range(2):
        folder = export_base(student, base_folder, tmp_path / "model", {"steps": 3})
        written.append({path: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert written[0] == written[1]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def _inputs(base: StableDiffusionPipeline) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4, 8, 8, generator=generator)
    return z, torch.randn(2, 7, base.unet.config.cross_attention_dim, generator=generator)


@torch.no_grad()
def _disturbed(unet: torch.nn.Module, seed: int) -> Any:
    """A student every weight of which is a little off, and whose embedding of guidance is not zero."""
    student, generator = student_of(unet), torch.Generator().manual_seed(seed)
    for value in student.parameters():
        value.add_(0.02 * torch.randn(value.shape, generator=generator))
    return student


@torch.no_grad()
def _independent_loss(
    teacher: Any, student: Any, target: Any, material: Any, settings: LcdSettings, prediction: str, step: Step
) -> float:
    """Algorithm 1 as the published script for whole U-Nets writes it, float64, from the same random draws."""
    abar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    chosen, generator = step.choice(len(material.rows)), step.generator()
    index = torch.randint(50, (settings.batch,), generator=generator)
    latents = material.latents[chosen].double()
    noise = torch.randn(latents.shape, generator=generator).double()
    w = settings.w_min + (settings.w_max - settings.w_min) * torch.rand(settings.batch, generator=generator)
    text = material.conditions.text[material.rows[chosen]].double()
    start = index * 20 + 19
    end = (start - 20).clamp(min=0)
    rates = torch.exp(torch.arange(128, dtype=torch.float32) * -(torch.log(torch.tensor(10000.0)) / 127))
    angles = w[:, None] * 1000 * rates
    embedded = torch.cat([angles.sin(), angles.cos()], dim=1).double()

    def column(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    def split(network: Any, z: Tensor, t: Tensor, c: Tensor, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
        a, s = column(abar[t]).sqrt(), column(1 - abar[t]).sqrt()
        out = network(z, t, c, timestep_cond=told, return_dict=False)[0]
        x0 = {"epsilon": (z - s * out) / a, "v_prediction": a * z - s * out, "sample": out}[prediction]
        eps = {"epsilon": out, "v_prediction": a * out + s * z, "sample": (z - a * out) / s}[prediction]
        return x0, eps

    def f(network: Any, z: Tensor, t: Tensor) -> Tensor:
        scaled = column(t) * 10.0
        skip, out = 0.25 / (scaled**2 + 0.25), scaled / (scaled**2 + 0.25).sqrt()
        return skip * z + out * split(network, z, t, text, embedded)[0]

    z = column(abar[start]).sqrt() * latents + column(1 - abar[start]).sqrt() * noise
    x0_c, eps_c = split(teacher, z, start, text)
    x0_u, eps_u = split(teacher, z, start, material.conditions.text[:1].double().expand_as(text))
    by = column(w.double())
    x0, eps = x0_c + by * (x0_c - x0_u), eps_c + by * (eps_c - eps_u)
    previous = column(abar[end]).sqrt() * x0 + column(1 - abar[end]).sqrt() * eps
    difference = f(student, z, start) - f(target, previous, end)
    c = settings.huber_c
    distance = difference**2 if settings.loss == "l2" else (difference**2 + c**2).sqrt() - c
    sigma = (1 - abar[torch.arange(50) * 20 + 19]).sqrt() ** settings.noise_weighting
    return float((distance.mean(dim=(1, 2, 3)) * (sigma / sigma.mean())[index]).mean())

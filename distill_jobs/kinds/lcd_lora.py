"""Latent consistency distillation into a LoRA: teacher, student and target are one frozen base.

Teacher = adapter off, student = adapter on, target = adapter on without a gradient (no separate target network, as in
the LCM-LoRA scripts). The guidance w is fixed and baked in, so the result samples at guidance 1.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.func import functional_call

from distill_jobs import consistency
from distill_jobs.adapters import LCD_TARGETS, InjectedAdapter, injected
from distill_jobs.bases.conditioning import Condition
from distill_jobs.bases.trainable import require_trainable
from distill_jobs.consistency import Denoiser, Point
from distill_jobs.data.dataset import Dataset
from distill_jobs.export import export
from distill_jobs.material.material import Material, prepare
from distill_jobs.models import consistency_loss, guided_end
from distill_jobs.progress import Cancelled, Report
from distill_jobs.training.loop import optimise
from distill_jobs.training.settings import ConsistencyVectorSettings
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, identity

RESULT = "acceleration.safetensors"
FOLD_LIMIT = 32 * 1024**2
"""Parameters: 128 MiB of folded weights, and as much for their gradients."""


class LcdLoraSettings(ConsistencyVectorSettings):
    """What a consistency distillation accepts."""

    rank: int = Field(32, ge=1)
    steps: int = Field(450, ge=1)
    targets: tuple[str, ...] = LCD_TARGETS
    w: float = Field(7.5, ge=0, description="guidance of the LCM form; Imagen's scale is w + 1")


def distil(
    pipe: Any,
    dataset: Dataset,
    settings: LcdLoraSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
) -> Path:
    """Distil `pipe`'s base into an acceleration vector; return the file (for the peft layout: the folder) in `folder`.

    Resumes bit-exactly from folder/checkpoint.pt when one of the same settings, data and base is there. `pipe` is left
    as it was. Raises Interrupted when `cancelled` names a reason, UnsupportedBase, UnknownTarget,
    CheckpointMismatch, Diverged.
    """
    require_trainable(pipe)
    material = prepare(pipe, dataset, folder / "cache")
    named = identity("lcd-lora", settings, dataset, pipe)
    alpha = settings.effective_alpha
    pipe.unet.eval()
    with injected(pipe.unet, settings.targets, rank=settings.rank, alpha=alpha, seed=settings.seed) as adapter:
        trainer = Trainer(adapter.parameters(), settings, named)
        distillation = Distillation(pipe, adapter, material, settings)
        weights = optimise(
            trainer,
            distillation.loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(pipe, trainer, folder, "lcm", steps=4, guidance=1.0),
        )
        factors = {"unet": adapter.factors(weights)}
        return export(factors, folder / RESULT, settings.layout, {"tauworks.training": settings.model_dump_json()})


class Distillation:
    """The loss of one step of LCD (Algorithm 1 of arXiv 2311.05556) on one frozen base.

    Student and target see the adapter folded into copies of the base's weights when these have at most FOLD_LIMIT
    parameters (13 % less time a step on the shapes base), and go through its factors when they have more.
    """

    def __init__(
        self,
        pipe: Any,
        adapter: InjectedAdapter,
        material: Material,
        settings: LcdLoraSettings,
        *,
        fold_limit: int = FOLD_LIMIT,
    ) -> None:
        self.unet, self.adapter, self.material, self.settings = pipe.unet, adapter, material, settings
        self.schedule = consistency.schedule_of(pipe.scheduler)
        self.consistency = consistency_loss(self.schedule, settings)
        self.folds = adapter.adapted_parameters <= fold_limit

    def loss(self, step: Step) -> Tensor:
        """The weighted mean distance between student and target on the batch of `step`."""
        chosen, generator = step.choice(len(self.material.rows)), step.generator()
        x0, condition = self.material.latents[chosen], self.material.condition(chosen)
        index = self.consistency.drawn(step.batch, generator)
        point = self.consistency.point(x0, torch.randn(x0.shape, generator=generator), index)
        student = self.student(condition)
        return self.consistency(point, self.teacher_step(point, condition), student, student)

    @torch.no_grad()
    def teacher_step(self, point: Point, condition: Condition) -> Tensor:
        """z at `end` by the guided teacher: the base with its adapter off."""
        nothing = self.material.unconditional(len(condition))
        with self.adapter.off():
            return guided_end(self._output, point, condition, nothing, self.settings.w, self.schedule)

    def student(self, condition: Condition) -> Denoiser:
        """f(z, t) of the adapter's present weights, told `condition`."""
        weights = self.adapter.folded() if self.folds else None

        def denoise(z: Tensor, timesteps: Tensor) -> Tensor:
            output = self._student_output(z, timesteps, condition, weights)
            return consistency.consistency_function(output, z, timesteps, self.schedule)

        return denoise

    def _student_output(
        self, z: Tensor, timesteps: Tensor, condition: Condition, weights: Mapping[str, Tensor] | None
    ) -> Tensor:
        if weights is None:
            return self._output(z, timesteps, condition)
        told = {**condition.arguments(), "return_dict": False}
        with self.adapter.off():
            output: Tensor = functional_call(self.unet, dict(weights), (z, timesteps), told)[0]
        return output

    def _output(self, z: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        output: Tensor = self.unet(z, timesteps, **condition.arguments(), return_dict=False)[0]
        return output

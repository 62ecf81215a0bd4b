"""Latent consistency distillation into a whole U-Net that is told its guidance (Algorithm 1 of arXiv 2311.05556).

Teacher = the frozen base, student = a copy of it with a layer that embeds w, target = the student's moving average. For
every picture of a step w is drawn from a range, so the result paints at any guidance in it, at one evaluation a step.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from distill_jobs import consistency
from distill_jobs.bases.conditioning import Condition
from distill_jobs.bases.distilled import export_base, student_of, with_unet
from distill_jobs.bases.trainable import require_trainable
from distill_jobs.consistency import Point
from distill_jobs.data.dataset import Dataset
from distill_jobs.evaluation.examination import Record, examination, unrecorded
from distill_jobs.evaluation.plan import plan_evaluation
from distill_jobs.evaluation.settings import EvaluationSettings
from distill_jobs.material.material import Material, prepare
from distill_jobs.models import (
    ConsistencyModel,
    consistency_loss,
    drawn,
    drawn_guidance,
    guided_end,
    require_parity_of,
)
from distill_jobs.progress import Cancelled, Report
from distill_jobs.software import training_record
from distill_jobs.training.forward import Forward
from distill_jobs.training.loop import optimise
from distill_jobs.training.precision import beside_it, prepared
from distill_jobs.training.processes import first_alone, in_processes
from distill_jobs.training.settings import ConsistencySettings, EmbeddedGuidanceSettings, TargetSettings
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, Weights, identity
from sampling import Judge

RESULT = "model"


class LcdSettings(ConsistencySettings, TargetSettings, EmbeddedGuidanceSettings):
    """What a consistency distillation of a whole U-Net accepts."""

    learning_rate: float = Field(1e-4, gt=0)
    evaluation: EvaluationSettings = EvaluationSettings()


@in_processes
def distil_base(
    pipe: Any,
    base: Path,
    dataset: Dataset,
    settings: LcdSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
    judge: Judge | None = None,
    record: Record = unrecorded,
) -> Path:
    """Distil `pipe`, which was opened from the folder `base`, into a base of its own; return its folder in `folder`.

    Resumes, stops and fails as `distill_jobs.kinds.lcd_lora.distil` does; `pipe` is left as it was. An evaluation
    is at the guidance of the strip.
    """
    require_trainable(pipe)
    named, scale = identity("lcd", settings, dataset, pipe), settings.strip_guidance
    plan = plan_evaluation(pipe, dataset.captions, settings.evaluation, settings, guidance=scale, judge=judge)
    with first_alone(), beside_it(pipe, settings):
        material = prepare(pipe, dataset, folder / "cache")
    student = with_unet(pipe, student_of(pipe.unet))
    schedule = consistency.schedule_of(pipe.scheduler)
    with prepared(pipe.unet, settings), prepared(student.unet, settings):
        trainer = Trainer(dict(student.unet.named_parameters()), settings, named, settings.target_rate)
        model = ConsistencyModel(student.unet, trainer.parameters, schedule, settings)
        distillation = GuidedDistillation(pipe.unet, model, material, settings, trainer.target)
        distillation.require_parity()
        weights = optimise(
            trainer,
            distillation.loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(student, trainer, folder, "lcm", steps=4, guidance=scale),
            examine=examination(
                student,
                trainer,
                plan,
                folder=folder,
                frozen=lambda: nullcontext(pipe),
                cancelled=cancelled,
                record=record,
                guidance=scale,
            ),
        )
    with trainer.showing(weights):
        return export_base(student, base, folder / RESULT, training_record(settings))


class GuidedDistillation:
    """The loss of one step of LCD, w drawn for every picture."""

    def __init__(
        self, teacher: Any, model: ConsistencyModel, material: Material, settings: LcdSettings, target: Weights
    ) -> None:
        self.model, self.material, self.settings, self.target = model, material, settings, target
        self.teacher = Forward(teacher, settings)
        self.consistency = consistency_loss(model.schedule, settings)

    def loss(self, step: Step) -> Tensor:
        """The weighted mean distance between student and target on this part of the batch of `step`."""
        batch = drawn(step, self.material, self.consistency, self.settings.caption_dropout)
        w = drawn_guidance(self.settings.w_min, self.settings.w_max, step, batch.generator)
        z_end = self.teacher_step(batch.point, batch.condition, w)
        student = self.model.told(batch.condition, w)
        return self.consistency(batch.point, z_end, student, self.model.told(batch.condition, w, self.target))

    def require_parity(self) -> None:
        """Compare compiled teacher and student with their uncompiled selves. Raises CompileMismatch."""
        self.model.require_parity(self.material, self.settings.w_min)
        require_parity_of(self.teacher, self.material, {"teacher": torch.no_grad})

    @torch.no_grad()
    def teacher_step(self, point: Point, condition: Condition, w: Tensor) -> Tensor:
        """z at `end` by the teacher, guided by w (B,)."""
        nothing = self.material.unconditional(condition)
        return guided_end(self.teacher, point, condition, nothing, w.view(-1, 1, 1, 1), self.model.schedule)

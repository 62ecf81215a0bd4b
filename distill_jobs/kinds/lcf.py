"""Latent consistency fine-tuning: a trained consistency model learns pictures without a teacher.

Both ends of a step are noised from the picture itself with the same noise (Luo et al. 2023, arXiv 2310.04378, section
4.4), so there is no solver and nothing guides: the guidance is the one that the model was distilled with.
"""

from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor

from arithmetic.sources.source import Source
from distill_jobs import consistency
from distill_jobs.adapters import STYLE_TARGETS, fused, injected
from distill_jobs.bases.distilled import export_base, trainable_copy, with_unet
from distill_jobs.bases.trainable import require_trainable
from distill_jobs.data.dataset import Dataset
from distill_jobs.export import export
from distill_jobs.material.material import Material, prepare
from distill_jobs.models import ConsistencyModel, consistency_loss, drawn, drawn_guidance
from distill_jobs.progress import Cancelled, Report
from distill_jobs.software import training_metadata, training_record
from distill_jobs.training.loop import optimise
from distill_jobs.training.precision import beside_it, prepared
from distill_jobs.training.processes import first_alone, in_processes
from distill_jobs.training.settings import (
    ConsistencySettings,
    ConsistencyVectorSettings,
    EmbeddedGuidanceSettings,
    TargetSettings,
)
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, Weights, identity

VECTOR_RESULT = "style.safetensors"
BASE_RESULT = "model"


class LcfSettings(ConsistencySettings, TargetSettings, EmbeddedGuidanceSettings):
    """What a consistency fine-tuning of a whole U-Net accepts; w is drawn from the range that it is to keep."""

    learning_rate: float = Field(1e-4, gt=0)


class LcfLoraSettings(ConsistencyVectorSettings, TargetSettings):
    """What a consistency fine-tuning into a LoRA accepts."""

    rank: int = Field(8, ge=1)
    targets: tuple[str, ...] = STYLE_TARGETS
    target_rate: float = Field(
        0.0, ge=0, lt=1, description="mu of the target's moving average; 0: the target is the student itself"
    )


@in_processes
def tune_vector(
    pipe: Any,
    acceleration: Source,
    dataset: Dataset,
    settings: LcfLoraSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
) -> Path:
    """Train a style vector that stands beside `acceleration` on `pipe`'s base; return the file (peft: the folder).

    The vector is trained on base + acceleration, so that in tau' = style + acceleration the sum paints the pictures in
    few steps. Resumes, stops and fails as `distill_jobs.kinds.lcd_lora.distil` does; `pipe` is left as it was.
    """
    require_trainable(pipe)
    with first_alone(), beside_it(pipe, settings):
        material = prepare(pipe, dataset, folder / "cache")
    pipe.unet.eval()
    alpha = settings.effective_alpha
    with fused(pipe.unet, acceleration):
        named = identity("lcf-lora", settings, dataset, pipe)
        with (
            injected(pipe.unet, settings.targets, rank=settings.rank, alpha=alpha, seed=settings.seed) as adapter,
            prepared(pipe.unet, settings),
        ):
            trainer = Trainer(adapter.parameters(), settings, named, settings.target_rate)
            model = ConsistencyModel(pipe.unet, trainer.parameters, consistency.schedule_of(pipe.scheduler), settings)
            model.require_parity(material)
            weights = optimise(
                trainer,
                FineTuning(model, material, settings, trainer.target).loss,
                folder=folder,
                report=report,
                cancelled=cancelled,
                paint_strip=painter(pipe, trainer, folder, "lcm", steps=4, guidance=1.0),
            )
            factors = {"unet": adapter.factors(weights)}
            return export(factors, folder / VECTOR_RESULT, settings.layout, training_metadata(settings))


@in_processes
def tune_base(
    pipe: Any,
    base: Path,
    dataset: Dataset,
    settings: LcfSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
) -> Path:
    """Fine-tune all weights of a distilled `pipe`, opened from the folder `base`; return the new base's folder.

    Resumes, stops and fails as `distill_jobs.kinds.lcd_lora.distil` does; `pipe` is left as it was.
    """
    require_trainable(pipe, is_distilled=True)
    named = identity("lcf", settings, dataset, pipe)
    with first_alone(), beside_it(pipe, settings):
        material = prepare(pipe, dataset, folder / "cache")
    student = with_unet(pipe, trainable_copy(pipe.unet))
    with prepared(student.unet, settings):
        trainer = Trainer(dict(student.unet.named_parameters()), settings, named, settings.target_rate)
        model = ConsistencyModel(student.unet, trainer.parameters, consistency.schedule_of(pipe.scheduler), settings)
        model.require_parity(material, settings.w_min)
        optimise(
            trainer,
            FineTuning(model, material, settings, trainer.target, (settings.w_min, settings.w_max)).loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(student, trainer, folder, "lcm", steps=4, guidance=settings.strip_guidance),
        )
    with trainer.showing_exported():
        return export_base(student, base, folder / BASE_RESULT, training_record(settings))


class FineTuning:
    """The loss of one step of LCF; `guidance` is the range of w that the U-Net is told, None where it is told none."""

    def __init__(
        self,
        model: ConsistencyModel,
        material: Material,
        settings: ConsistencySettings,
        target: Weights,
        guidance: tuple[float, float] | None = None,
    ) -> None:
        self.model, self.material, self.target, self.guidance = model, material, target, guidance
        self.dropout = settings.caption_dropout
        self.consistency = consistency_loss(model.schedule, settings)

    def loss(self, step: Step) -> Tensor:
        """The weighted mean distance between student and target on this part of the batch of `step`."""
        batch = drawn(step, self.material, self.consistency, self.dropout)
        z_end = consistency.diffuse(batch.x0, batch.eps, *self.model.schedule.at(batch.point.end))
        w = None if self.guidance is None else drawn_guidance(*self.guidance, step, batch.generator)
        student = self.model.told(batch.condition, w)
        return self.consistency(batch.point, z_end, student, self.model.told(batch.condition, w, self.target))

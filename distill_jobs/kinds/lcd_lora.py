"""Latent consistency distillation into a LoRA: teacher, student and target are one frozen base.

Teacher = adapter off, student = adapter on, target = adapter on without a gradient (no separate target network, as in
the LCM-LoRA scripts). The guidance w is fixed and baked in, so the result samples at guidance 1.
"""

import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from distill_jobs import consistency
from distill_jobs.adapters import LCD_TARGETS, InjectedAdapter, injected
from distill_jobs.bases.conditioning import Condition
from distill_jobs.bases.trainable import give_up_encoders, require_trainable
from distill_jobs.consistency import Denoiser, Point
from distill_jobs.data.dataset import Dataset
from distill_jobs.evaluation.examination import Record, examination, unrecorded
from distill_jobs.evaluation.plan import plan_evaluation
from distill_jobs.evaluation.settings import EvaluationSettings
from distill_jobs.export import export
from distill_jobs.material.cache import weights_digest
from distill_jobs.material.material import Material, prepare
from distill_jobs.material.trajectories import Rows, Trajectories, gap_warning, trajectory_file
from distill_jobs.models import consistency_loss, drawn, guided_end
from distill_jobs.progress import Cancelled, Report
from distill_jobs.software import training_metadata
from distill_jobs.training.compilation import TOLERANCES, require_parity
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.forward import Forward
from distill_jobs.training.loop import optimise
from distill_jobs.training.precision import beside_it, prepared
from distill_jobs.training.processes import first_alone, in_processes
from distill_jobs.training.settings import ConsistencyVectorSettings
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, identity
from sampling import Judge
from sampling.base import networks

RESULT = "acceleration.safetensors"
FOLD_LIMIT = 32 * 1024**2
"""Parameters: 128 MiB of folded weights, and as much for their gradients."""
COMPARISON = 1
"""The purpose of the random numbers on which kept and fresh noise are compared."""
CHECKS, GAP = 5, 1.25
"""A warning comes when over so many checks fresh noise costs so many times the loss on kept noise."""


class LcdLoraSettings(ConsistencyVectorSettings):
    """What a consistency distillation accepts."""

    rank: int = Field(32, ge=1)
    steps: int = Field(450, ge=1)
    targets: tuple[str, ...] = LCD_TARGETS
    w: float = Field(7.5, ge=0, description="guidance of the LCM form; Imagen's scale is w + 1")
    trajectories: int = Field(0, ge=0, description="noises a picture whose teacher steps are kept; 0: always fresh")
    trajectory_check_every: int = Field(0, ge=0, description="steps between comparisons of kept and fresh; 0: none")
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _check_has_trajectories(self) -> Self:
        if self.trajectory_check_every and not self.trajectories:
            raise ValueError("trajectory_check_every compares kept trajectories, but trajectories is 0")
        if self.caption_dropout and self.trajectories:
            raise ValueError("caption_dropout changes what the teacher is told, so its steps cannot be kept; use one")
        return self


@in_processes
def distil(
    pipe: Any,
    dataset: Dataset,
    settings: LcdLoraSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
    judge: Judge | None = None,
    record: Record = unrecorded,
    release: bool = False,
) -> Path:
    """Distil `pipe`'s base into an acceleration vector; return the file (for the peft layout: the folder) in `folder`.

    Resumes bit-exactly from folder/checkpoint.pt when one of the same settings, data and base is there. `pipe` is left
    as it was. `judge` reads the pictures of an evaluation, `record` takes its numbers. With `release` the VAE and the
    text encoders go out of memory, and out of `pipe`, once no step needs them.

    Raises Interrupted when `cancelled` names a reason, UnsupportedBase, UnknownTarget, CheckpointMismatch,
    EvaluationRefused, Diverged.
    """
    require_trainable(pipe)
    named = identity("lcd-lora", settings, dataset, pipe)
    with first_alone(), beside_it(pipe, settings):
        material = prepare(pipe, dataset, folder / "cache")
        kept = trajectories(pipe, dataset, material, settings, folder / "cache")
    plan = plan_evaluation(pipe, dataset.captions, settings.evaluation, settings, guidance=settings.w + 1, judge=judge)
    if release and not (settings.sample_every or settings.evaluation.every):
        give_up_encoders(pipe)
    alpha = settings.effective_alpha
    pipe.unet.eval()
    with (
        injected(pipe.unet, settings.targets, rank=settings.rank, alpha=alpha, seed=settings.seed) as adapter,
        prepared(pipe.unet, settings),
    ):
        trainer = Trainer(adapter.parameters(), settings, named)
        distillation = Distillation(pipe, adapter, material, settings, kept)
        distillation.require_parity()
        weights = optimise(
            trainer,
            distillation.loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(pipe, trainer, folder, "lcm", steps=4, guidance=1.0),
            measure=distillation.comparison,
            examine=examination(
                pipe, trainer, plan, folder=folder, frozen=adapter.off, cancelled=cancelled, record=record
            ),
        )
        factors = {"unet": adapter.factors(weights)}
        return export(factors, folder / RESULT, settings.layout, training_metadata(settings))


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
        kept: Trajectories | None = None,
        *,
        fold_limit: int = FOLD_LIMIT,
    ) -> None:
        self.adapter, self.material, self.settings, self.kept = adapter, material, settings, kept
        self.network = Forward(pipe.unet, settings)
        self.schedule = consistency.schedule_of(pipe.scheduler)
        self.consistency = consistency_loss(self.schedule, settings)
        passes_repeat = settings.gradient_checkpointing or settings.compile != "off"
        self.folds = adapter.adapted_parameters <= fold_limit and not passes_repeat
        self.checks: deque[tuple[float, float]] = deque(maxlen=CHECKS)

    def loss(self, step: Step) -> Tensor:
        """The weighted mean distance between student and target on this part of the batch of `step`."""
        return self.kept_loss(self.kept, step) if self.kept else self.fresh_loss(step)

    def fresh_loss(self, step: Step, purpose: int = 0) -> Tensor:
        """The loss on noise of the step's own, from the stream of `purpose`."""
        batch = drawn(step, self.material, self.consistency, self.settings.caption_dropout, purpose)
        student = self.student(batch.condition)
        return self.consistency(batch.point, self.teacher_step(batch.point, batch.condition), student, student)

    def kept_loss(self, kept: Trajectories, step: Step) -> Tensor:
        """The loss on the kept noises of the step's pictures."""
        rows = kept.rows(step)
        point, condition = self._kept_point(kept, rows)
        student = self.student(condition)
        return self.consistency(point, kept.ends(rows, partial(self._kept_ends, kept)), student, student)

    @torch.no_grad()
    def comparison(self, step: Step) -> dict[str, float]:
        """The loss on kept and on fresh noise for the pictures of `step`, where the settings ask for it."""
        every = self.settings.trajectory_check_every
        if self.kept is None or not every or (step.number + 1) % every:
            return {}
        online, cached = self.fresh_loss(step, COMPARISON).item(), self.kept_loss(self.kept, step).item()
        self.checks.append((online, cached))
        if (said := gap_warning(*zip(*self.checks, strict=True), GAP)) and len(self.checks) == CHECKS:
            warnings.warn(said, RuntimeWarning, stacklevel=2)
        return {"loss/online": online, "loss/cached": cached}

    def require_parity(self) -> None:
        """Compare teacher, target and student with their uncompiled selves. Raises CompileMismatch."""
        if self.settings.compile == "off":
            return
        step = Step(0, self.settings.seed, self.settings.batch, parts=self.settings.parts)
        rows = step.choice(len(self.material.rows))[step.share]
        z, condition = self.material.latents[rows], self.material.condition(rows)
        t = self.consistency.grid.start[self.consistency.drawn(len(rows), step.generator())]
        require_parity(
            lambda: self.network.uncompiled()(z, t, condition),
            lambda: self.network(z, t, condition),
            {"teacher": self.as_teacher, "target": torch.no_grad, "student": nullcontext},
            self.adapter.parameters(),
            tolerance=TOLERANCES[self.settings.dtype],
        )

    @contextmanager
    def as_teacher(self) -> Iterator[None]:
        """Inside, a pass is the teacher's: the adapter off, no gradient."""
        with torch.no_grad(), self.adapter.off():
            yield

    def _kept_point(self, kept: Trajectories, rows: Rows) -> tuple[Point, Condition]:
        noise = kept.noise(rows)
        point = self.consistency.point(self.material.latents[rows.pictures], noise.eps, noise.index)
        return point, self.material.condition(rows.pictures)

    def _kept_ends(self, kept: Trajectories, rows: Rows) -> Tensor:
        return self.teacher_step(*self._kept_point(kept, rows))

    @torch.no_grad()
    def teacher_step(self, point: Point, condition: Condition) -> Tensor:
        """z at `end` by the guided teacher: the base with its adapter off."""
        nothing = self.material.unconditional(condition)
        with self.adapter.off():
            return guided_end(self.network, point, condition, nothing, self.settings.w, self.schedule)

    def student(self, condition: Condition) -> Denoiser:
        """f(z, t) of the adapter's present weights, told `condition`."""
        weights = self.adapter.folded() if self.folds else None

        def denoise(z: Tensor, timesteps: Tensor) -> Tensor:
            with nullcontext() if weights is None else self.adapter.off():
                output = self.network(z, timesteps, condition, weights)
            return consistency.consistency_function(output, z, timesteps, self.schedule)

        return denoise


def trajectories(
    pipe: Any, dataset: Dataset, material: Material, settings: LcdLoraSettings, folder: Path
) -> Trajectories | None:
    """The trajectories that the settings keep, in a file named by all that they follow from; None for no kept ones."""
    if not settings.trajectories:
        return None
    told = [weights_digest(network) for network in networks(pipe).values()]
    chosen = settings.model_dump(include={*ComputeSettings.model_fields, "batch", "seed", "w", "num_ddim_timesteps"})
    grid = consistency.solver_grid(settings.num_ddim_timesteps, len(pipe.scheduler.alphas_cumprod))
    return Trajectories(
        trajectory_file(folder, told, dict(pipe.scheduler.config), dataset.fingerprint, settings.trajectories, chosen),
        pictures=len(material.rows),
        shape=material.latents.shape[1:],
        noises=settings.trajectories,
        grid=len(grid.start),
        seed=settings.seed,
        batch=settings.batch,
        parts=settings.parts,
    )

"""The optimisation loop of every kind of training: progress, checkpoints, cancellation and bit-exact resumption."""

import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from distill_jobs.errors import Interrupted
from distill_jobs.progress import Cancelled, Progress, Report
from distill_jobs.training.settings import TrainingSettings
from distill_jobs.training.step import Step
from distill_jobs.training.trainer import Trainer, Weights


def optimise(
    trainer: Trainer,
    loss_of: Callable[[Step], Tensor],
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
    paint_strip: Callable[[], Path],
) -> Weights:
    """Run `trainer` from where folder's checkpoint left it to its last step; return the weights to export.

    `cancelled` is asked before every step: a reason stops the training after a checkpoint with Interrupted.
    `paint_strip` is called after every step that a strip is due.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer.resume(folder)
    settings, first, began = trainer.settings, trainer.step, time.monotonic()
    while trainer.step < settings.steps:
        reason = cancelled()
        if reason:
            trainer.save(folder)
            raise Interrupted(reason, trainer.step)
        loss = trainer.update(loss_of(Step(trainer.step, settings.seed, settings.batch)))
        done = trainer.step
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            trainer.save(folder)
        strip = paint_strip() if _strip_is_due(settings, done) else None
        pace = (time.monotonic() - began) / (done - first)
        rate = trainer.optimiser.param_groups[0]["lr"]
        report(Progress(done, settings.steps, loss, rate, pace * (settings.steps - done), strip))
    return trainer.exported()


def _strip_is_due(settings: TrainingSettings, done: int) -> bool:
    return settings.sample_every > 0 and (done % settings.sample_every == 0 or done == settings.steps)

"""The optimisation loop of every kind of training: progress, checkpoints, cancellation and bit-exact resumption."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from distill_jobs.errors import Interrupted
from distill_jobs.progress import Cancelled, Progress, Report
from distill_jobs.training.checkpoints import Checkpoints, Examine
from distill_jobs.training.processes import company
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
    measure: Callable[[Step], Mapping[str, float]] = lambda step: {},
    examine: Examine | None = None,
) -> Weights:
    """Run `trainer` from where folder's checkpoint left it to its last step; return the weights to export.

    `cancelled` is asked before every step: a reason stops the training after a checkpoint with Interrupted.
    `paint_strip` is called after every step that a strip is due, `measure` with every step after it for the numbers
    to report beside the loss, `examine` after every checkpoint that it is due at. In company only the first process
    does more than compute: the others end here.
    """
    own = company()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(trainer, folder, examine)
    checkpoints.resume()
    settings, first, began = trainer.settings, trainer.step, time.monotonic()
    while trainer.step < settings.steps:
        reason = own.agreed(cancelled)
        if reason:
            if own.leads:
                trainer.save(folder)
            raise Interrupted(reason, trainer.step)
        step = Step(trainer.step, settings.seed, settings.batch)
        loss = trainer.update_on(loss_of(part) for part in own_parts(step, settings))
        done = trainer.step
        if not own.leads:
            continue
        if checkpoints.is_due(done):
            checkpoints.save()
        strip = paint_strip() if _strip_is_due(settings, done) else None
        pace = (time.monotonic() - began) / (done - first)
        rate = trainer.optimiser.param_groups[0]["lr"]
        report(Progress(done, settings.steps, loss, rate, pace * (settings.steps - done), strip, measure(step)))
    own.dismiss()
    return checkpoints.exported()


def own_parts(step: Step, settings: TrainingSettings) -> Iterator[Step]:
    """The parts of a step that are this process's."""
    first = company().rank * settings.accumulate
    for part in range(first, first + settings.accumulate):
        yield replace(step, part=part, parts=settings.parts)


def _strip_is_due(settings: TrainingSettings, done: int) -> bool:
    return settings.sample_every > 0 and (done % settings.sample_every == 0 or done == settings.steps)

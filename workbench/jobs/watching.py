"""What a person watches of a job: curves, pictures along a training, the end of the log; and what can be asked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.jobs.queueing import queue_of

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job, LogPiece, Metric

RUN = "run"
EVALUATION = "eval/"
"""What the names of measures at checkpoints begin with."""

LOG_TAIL_BYTES = 64 << 10

WISHES: Mapping[str, tuple[str, ...]] = {
    "queued": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "failed": ("retry",),
    "dead": ("retry",),
    "cancelled": ("retry",),
    "succeeded": (),
}
"""State of a job -> what can be asked of it; one that is being stopped can be asked less."""


@dataclass(frozen=True)
class Sample:
    """The strip that was painted after a step of a training."""

    step: int
    path: Path


@dataclass(frozen=True)
class Curve:
    """One measure over the steps: name of the series -> its (step, value) in order."""

    measure: str
    series: Mapping[str, tuple[tuple[int, float], ...]]


def wishes(job: "Job") -> tuple[str, ...]:
    """What can be asked of a job as it is: pause, resume, cancel, retry."""
    if job.state == "running" and job.wanted != RUN:
        return ("resume", "cancel") if job.wanted == "pause" else ()
    return WISHES[job.state]


def ask(registry: "Registry", job: int, wish: str) -> "Job":
    """Ask for one of `wishes`; the job as it is then. Raises NotFound, and Conflict for what cannot be asked now."""
    queue = queue_of(registry)
    return {"pause": queue.pause, "resume": queue.resume, "cancel": queue.cancel, "retry": queue.retry}[wish](job)


def curves(metrics: Iterable["Metric"]) -> tuple[Curve, ...]:
    """The numbers of a job, those of one measure together: `eval/tcd-4/endpoint_error` is tcd-4's."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for metric in metrics:
        series, _, measure = metric.name.removeprefix(EVALUATION).rpartition("/")
        found.setdefault(measure, {}).setdefault(series or measure, []).append((metric.step, metric.value))
    order = sorted(found, key=lambda measure: (measure != "loss", measure))
    return tuple(
        Curve(measure, {name: tuple(sorted(points)) for name, points in found[measure].items()}) for measure in order
    )


def samples(registry: "Registry", job: int) -> tuple[Sample, ...]:
    """The strips that a training painted on this machine, in the order of their steps."""
    from distill_jobs.execution.attempt import job_folder

    folder = job_folder(registry, job) / "strips"
    return tuple(Sample(int(path.stem), path) for path in sorted(folder.glob("*.png")) if path.stem.isdigit())


def log_tail(registry: "Registry", job: int, *, limit: int = LOG_TAIL_BYTES) -> "LogPiece":
    """The last `limit` bytes of a job's log at most; what is written later begins at its `next_offset`."""
    seen = queue_of(registry).get(job)
    path = Path(seen.log_path) if seen.log_path else None
    size = path.stat().st_size if path is not None and path.exists() else 0
    return queue_of(registry).log(job, max(0, size - limit), limit=limit)

"""Writes a training's progress into the queue and the log, seldom enough to cost nothing."""

import time
from collections.abc import Callable
from typing import Any

from distill_jobs.progress import Progress
from registry.jobs import Lease, Queue, Wanted

SECONDS_BETWEEN_WRITES = 1.0
METRICS_PER_JOB = 500


class ProgressReport:
    """Called after every step. Keeps `wanted`, what somebody wants of the job, as of the last write.

    Progress is written every `seconds_between_writes` and after the last step; the mean loss of every stretch of steps
    becomes a metric and a line of the log, at most 500 of them, at the same steps however often the job was
    interrupted. A job without losses has neither.
    """

    def __init__(
        self,
        queue: Queue,
        lease: Lease,
        say: Callable[[str], Any] = print,
        *,
        seconds_between_writes: float = SECONDS_BETWEEN_WRITES,
    ) -> None:
        self.wanted = Wanted.RUN
        self._queue, self._lease, self._say = queue, lease, say
        self._losses: list[float] = []
        self._seconds_between_writes = seconds_between_writes
        self._written = -seconds_between_writes
        self._strip: str | None = None

    def __call__(self, progress: Progress) -> None:
        """Take note of one step. Raises LeaseLost when the job is no longer this worker's."""
        self._losses += [] if progress.loss is None else [progress.loss]
        for name, value in progress.metrics.items():
            self._queue.metric(self._lease, progress.step, name, value)
            self._say(f"step {progress.step}/{progress.steps} {name} {value:.6f}")
        self._strip = str(progress.strip) if progress.strip else self._strip
        is_last = progress.step == progress.steps
        if self._losses and (is_last or progress.step % max(1, progress.steps // METRICS_PER_JOB) == 0):
            self._record_loss(progress)
        if is_last or progress.strip or time.monotonic() - self._written >= self._seconds_between_writes:
            self.wanted = self._queue.progress(self._lease, self._document(progress))
            self._written = time.monotonic()

    def _record_loss(self, progress: Progress) -> None:
        loss = sum(self._losses) / len(self._losses)
        self._losses.clear()
        self._queue.metric(self._lease, progress.step, "loss", loss)
        self._say(f"step {progress.step}/{progress.steps} loss {loss:.6f} eta {progress.eta_seconds:.0f} s")

    def _document(self, progress: Progress) -> dict[str, Any]:
        return {
            "step": progress.step,
            "steps": progress.steps,
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "eta_seconds": round(progress.eta_seconds, 1),
            "strip": self._strip,
            **({"note": progress.note} if progress.note else {}),
        }

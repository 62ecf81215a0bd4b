"""What a job's function is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distill_jobs.execution.shelf import Shelf
from distill_jobs.progress import Cancelled, Report
from registry import Registry
from registry.jobs import Lease, Queue


@dataclass(frozen=True)
class JobContext:
    """One attempt at one job.

    `folder` is the job's own and outlives the attempt; `report` tells people how far it is; `cancelled` gives the
    reason to stop now, or None; what is registered under `lease` is refused once another attempt has begun. What lies
    on `shelf` is still there for the next job where one process runs many.
    """

    registry: Registry
    lease: Lease
    folder: Path
    report: Report
    cancelled: Cancelled
    shelf: Shelf = field(default_factory=Shelf)

    @property
    def spec(self) -> Mapping[str, Any]:
        """What the job was told to do."""
        return self.lease.job.spec

    def record(self, step: int, numbers: Mapping[str, float]) -> None:
        """Keep the numbers of one step as the job's metrics. Raises LeaseLost."""
        queue = Queue(self.registry)
        for name, value in numbers.items():
            queue.metric(self.lease, step, name, value)


JobFunction = Callable[[JobContext], Mapping[str, Any]]
"""Does a job and returns its result."""

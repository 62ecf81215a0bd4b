"""Pictures that painters are asked for, as somebody sees them who waits: whether a job paints this, how far it is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.jobs.estimates import seconds_left
from workbench.jobs.queueing import UNDER_WAY, queue_of
from workbench.painting.jobs import KIND

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.painting.profiles import Sampling

LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Watched:
    """A job as it is now."""

    job: "Job"
    seconds_left: float | None
    """None where nobody knows."""

    @property
    def is_under_way(self) -> bool:
        """Whether something may still come of it."""
        return self.job.state in UNDER_WAY

    @property
    def share(self) -> float:
        """How much of it is done, 0 to 1."""
        step, steps = self.job.progress.get("step", 0), self.job.progress.get("steps", 0)
        return min(1.0, step / steps) if steps else 0.0

    @property
    def pictures(self) -> Sequence[Mapping[str, Any]]:
        """What was painted: sha256 and record of each."""
        return (self.job.result or {}).get("pictures", ()) if self.job.state == "succeeded" else ()


def watch(registry: "Registry", job: int) -> Watched | None:
    """The job, where it is one that paints pictures; None for any other number."""
    return watch_job(registry, job, KIND)


def watch_job(registry: "Registry", job: int, kind: str) -> Watched | None:
    """The job, where it is of that kind; None for any other number."""
    from registry import NotFound

    try:
        found = queue_of(registry).get(job)
    except NotFound:
        return None
    if found.kind != kind:
        return None
    return Watched(found, seconds_left(registry, [found]).get(found.id))


def watch_briefly(registry: "Registry", job: int, seconds: float) -> Watched | None:
    """The job once it has ended, or as it is after that many seconds."""
    until = time.monotonic() + seconds
    queue = queue_of(registry)
    while time.monotonic() < until and queue.get(job).state in UNDER_WAY:
        time.sleep(LOOK_SECONDS)
    return watch(registry, job)


def paints(job: "Job", recipe: str, *, base: str | None, prompt: str, seed: int, sampling: "Sampling") -> bool:
    """Whether that is what the job was told to paint."""
    spec = job.spec
    told = (spec.get("recipe"), spec.get("base"), list(spec.get("prompts", ())), list(spec.get("seeds", ())))
    if told != (recipe, base, [prompt], [seed]):
        return False
    return all(spec.get(name) == value for name, value in sampling.said.items())

"""What every job of a painter shares: how it opens bases, says how far it is, ends, and is waited for."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from workbench.jobs.queueing import UNDER_WAY, queue_of, wait
from workbench.jobs.workers import OnJob
from workbench.painting.plans import Opener
from workbench.painting.profiles import Sampling

if TYPE_CHECKING:
    from distill_jobs import JobContext
    from registry import Registry
    from registry.jobs import Job


@contextmanager
def bases_opened(context: "JobContext", samplings: Sequence[Sampling], pictures: int) -> Iterator[Opener]:
    """Opens bases on the painter's shelf, where they stay; a painting that was cancelled inside is put down.

    What was raised that nobody foresaw leaves them in a state that nobody knows: they are kept no longer.
    """
    from arithmetic import AlgebraError
    from distill_jobs.errors import Stopped
    from registry import RegistryError
    from sampling import Cancelled, SamplingError
    from workbench.errors import WorkbenchError

    opener = Opener(context.registry, samplings, pictures, shelf=context.shelf)
    try:
        yield opener
    except Cancelled as error:
        raise Stopped(str(error)) from error
    except (AlgebraError, RegistryError, SamplingError, WorkbenchError):
        raise
    except Exception:
        opener.forget()
        raise


def steps_reported(context: "JobContext") -> Callable[[int, int], None]:
    """Reports each denoising step."""
    from distill_jobs import Progress

    began = time.monotonic()

    def report(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        context.report(Progress(done, total, None, None, left))

    return report


def painter_of(context: "JobContext") -> Mapping[str, int]:
    """The process that did a job (pid), and how many bases it has loaded since it began (loads)."""
    return {"pid": os.getpid(), "loads": context.shelf.made}


def awaited(
    registry: "Registry", job: "Job", on_job: OnJob | None, *, timeout: float | None, poll_seconds: float
) -> "Job":
    """The job once it is done; whoever stops waiting cancels it. Raises WaitTimedOut, JobUnfinished."""
    try:
        return wait(registry, job, on_job, timeout=timeout, poll_seconds=poll_seconds)
    except BaseException:
        cancel_unfinished(registry, job.id)
        raise


def cancel_unfinished(registry: "Registry", job: int) -> None:
    """Nobody waits for it any more; one that has ended is left alone."""
    queue = queue_of(registry)
    if queue.get(job).state in UNDER_WAY:
        queue.cancel(job)

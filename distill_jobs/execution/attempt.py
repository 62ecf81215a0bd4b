"""One attempt at a job in this process: its function is run, then the job is settled, always under its lease."""

import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from sqlalchemy.exc import OperationalError

from distill_jobs.context import JobContext, JobFunction
from distill_jobs.errors import Stopped, UnknownJobKind
from distill_jobs.execution.shelf import Shelf
from distill_jobs.execution.stopping import FAILED
from distill_jobs.reporting import SECONDS_BETWEEN_WRITES, ProgressReport
from registry import LeaseLost, Registry
from registry.jobs import Lease, Queue, Wanted

MACHINE_TROUBLE = (OSError, MemoryError, OperationalError)
"""What may go away by itself. Any other error would come again, so the job has failed."""

LEASE_LOST = 3
JOBS_FOLDER = "jobs"
LOG = "job.log"


def job_folder(registry: Registry, job: int) -> Path:
    """The folder of a job: its log, its checkpoint, its result."""
    return registry.home / JOBS_FOLDER / str(job)


def held_lease(queue: Queue, number: int, token: int) -> Lease:
    """The lease of that token on that job. Raises LeaseLost when it is over."""
    job = queue.get(number)
    if job.lease_token != token or job.lease_owner is None or job.lease_until is None:
        raise LeaseLost(f"job {job.id}: lease {token} is over before its process began")
    return Lease(job, job.lease_token, job.lease_owner, job.lease_until)


def attempt(
    registry: Registry,
    lease: Lease,
    function: str,
    folder: Path,
    stopping: Callable[[], str | None],
    *,
    shelf: Shelf | None = None,
    seconds_between_writes: float = SECONDS_BETWEEN_WRITES,
) -> int:
    """Run the job's function and settle the job: finished, failed, or put down. `stopping` gives a reason to stop.

    What happens is written to standard output. Returns an exit code, which is for people: the queue has the outcome.
    """
    queue = Queue(registry)
    report = ProgressReport(queue, lease, seconds_between_writes=seconds_between_writes)

    def cancelled() -> str | None:
        return stopping() or (None if report.wanted == Wanted.RUN else f"{report.wanted} wanted")

    print(f"attempt {lease.job.attempt} of {lease.job.max_attempts}: {lease.job.kind}", flush=True)
    context = JobContext(registry, lease, folder, report, cancelled, shelf or Shelf())
    try:
        return _settled(queue, lease, function, context)
    except LeaseLost as error:
        print(error, flush=True)
        return LEASE_LOST


def _settled(queue: Queue, lease: Lease, function: str, context: JobContext) -> int:
    try:
        result = resolve(function)(context)
    except Stopped as stop:
        print(stop, flush=True)
        queue.release(lease)
        return 0
    except LeaseLost:
        raise
    except Exception as error:
        print(traceback.format_exc(), end="", flush=True)
        queue.fail(lease, f"{type(error).__name__}: {error}", retry=isinstance(error, MACHINE_TROUBLE))
        return FAILED
    queue.finish(lease, result)
    print("finished", flush=True)
    return 0


def resolve(function: str) -> JobFunction:
    """The function that "module:name" names. Raises UnknownJobKind."""
    module, _, name = function.partition(":")
    try:
        found: JobFunction = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownJobKind(f'{function!r}: expected "module:function" that can be imported: {error}') from error
    return found

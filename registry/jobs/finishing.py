"""The end of a job, or of an attempt, written inside a unit that holds its lease."""

from typing import Any

from registry.dialect import now
from registry.jobs.moves import move
from registry.states import JobState, Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork

RETRY_SECONDS = 5.0
LONGEST_RETRY_SECONDS = 300.0
ENDED = frozenset({JobState.CANCELLED, JobState.DEAD, JobState.FAILED, JobState.SUCCEEDED})


def finish_held(uow: UnitOfWork, job: JobRow, result: dict[str, Any]) -> None:
    """Record success, with what came out of it."""
    job.result = result
    job.last_error = None
    _put_down(uow, job, JobState.SUCCEEDED, "finished", result=result)


def fail_held(uow: UnitOfWork, job: JobRow, error: str, retry: bool, delay_seconds: float | None) -> None:
    """Record failure.

    Without `retry` the job has failed. With it: cancelled or paused if that was wanted, dead when its attempts are
    used up, and otherwise queued again after `delay_seconds` (by default 5 s, doubled at each attempt, at most 300).
    """
    job.last_error = error
    wanted = Wanted(job.wanted)
    if wanted == Wanted.CANCEL:
        _put_down(uow, job, JobState.CANCELLED, "cancelled", error=error)
    elif not retry:
        _put_down(uow, job, JobState.FAILED, "failed", error=error)
    elif wanted == Wanted.PAUSE:
        job.attempt -= 1
        _put_down(uow, job, JobState.PAUSED, "paused", error=error)
    elif job.attempt >= job.max_attempts:
        _put_down(uow, job, JobState.DEAD, "died", error=error)
    else:
        job.run_at = now(retry_delay(job.attempt) if delay_seconds is None else delay_seconds)
        _put_down(uow, job, JobState.QUEUED, "will-retry", error=error)


def release_held(uow: UnitOfWork, job: JobRow) -> None:
    """Put a job down as was wanted; neither a pause nor a worker that shuts down costs an attempt."""
    wanted = Wanted(job.wanted)
    if wanted == Wanted.CANCEL:
        _put_down(uow, job, JobState.CANCELLED, "cancelled")
        return
    job.attempt -= 1
    if wanted == Wanted.PAUSE:
        _put_down(uow, job, JobState.PAUSED, "paused")
    else:
        _put_down(uow, job, JobState.QUEUED, "released")


def retry_delay(attempt: int) -> float:
    """Seconds until the attempt after `attempt`."""
    return min(RETRY_SECONDS * 2.0 ** (attempt - 1), LONGEST_RETRY_SECONDS)


def _put_down(uow: UnitOfWork, job: JobRow, state: JobState, action: str, **detail: Any) -> None:
    if state in ENDED:
        job.finished_at = now()
    move(uow, job, state, action, **detail)

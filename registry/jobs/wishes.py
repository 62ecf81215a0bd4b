"""What people ask of jobs: cancel, pause, resume, retry. A running job is asked, any other obeys at once."""

from typing import Any

from sqlalchemy import select

from registry.dialect import now
from registry.errors import Conflict, IllegalTransition, NotFound
from registry.jobs.moves import move, note
from registry.states import UNFINISHED, JobState, Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def require_job(uow: UnitOfWork, job: int) -> JobRow:
    """The job of that number. Raises NotFound."""
    row = uow.session.get(JobRow, job)
    if row is None:
        raise NotFound(f"no job has number {job}. `tau jobs ls` lists them.")
    return row


def locked_job(uow: UnitOfWork, job: int) -> JobRow:
    """The job of that number, locked until the unit ends. Raises NotFound."""
    row = require_job(uow, job)
    uow.session.refresh(row, with_for_update=True)
    return row


def cancel(uow: UnitOfWork, job: JobRow) -> None:
    """Stop a job for good: at once when nobody works on it, otherwise at the worker's next heartbeat."""
    if job.state == JobState.RUNNING:
        _ask(uow, job, Wanted.CANCEL, "cancel-wanted")
    elif job.state != JobState.CANCELLED:
        move(uow, job, JobState.CANCELLED, "cancelled")
        job.finished_at = now()


def pause(uow: UnitOfWork, job: JobRow) -> None:
    """Stop a job until it is resumed."""
    if job.state == JobState.RUNNING:
        if job.wanted == Wanted.CANCEL:
            raise IllegalTransition(f"job {job.id} is being cancelled and cannot be paused any more.")
        _ask(uow, job, Wanted.PAUSE, "pause-wanted")
    elif job.state != JobState.PAUSED:
        move(uow, job, JobState.PAUSED, "paused")


def resume(uow: UnitOfWork, job: JobRow) -> None:
    """Queue a paused job again, or take back a pause that has not been obeyed yet."""
    if job.state == JobState.RUNNING and job.wanted == Wanted.PAUSE:
        _ask(uow, job, Wanted.RUN, "resumed")
    elif job.state == JobState.PAUSED:
        job.run_at = now()
        move(uow, job, JobState.QUEUED, "resumed")
    else:
        raise IllegalTransition(f"job {job.id} is {job.state} and not paused, so there is nothing to resume.")


def retry(uow: UnitOfWork, job: JobRow) -> None:
    """Queue a job that failed, died or was cancelled once more, with all its attempts before it."""
    if job.state in UNFINISHED:
        raise IllegalTransition(f"job {job.id} is {job.state}: only a job that has ended can be retried.")
    _refuse_second_of_key(uow, job)
    before: dict[str, Any] = {"attempts": job.attempt, "error": job.last_error}
    job.attempt = 0
    job.run_at = now()
    job.finished_at = None
    job.last_error = None
    move(uow, job, JobState.QUEUED, "retried", before=before)


def _ask(uow: UnitOfWork, job: JobRow, wanted: Wanted, action: str) -> None:
    if job.wanted == wanted:
        return
    job.wanted = wanted
    note(uow, job, action)


def _refuse_second_of_key(uow: UnitOfWork, job: JobRow) -> None:
    if job.idempotency_key is None:
        return
    same = (JobRow.idempotency_key == job.idempotency_key, JobRow.state.in_(UNFINISHED))
    other = uow.session.scalar(select(JobRow.id).where(*same))
    if other is not None:
        raise Conflict(
            f"job {job.id}: job {other} has the same key {job.idempotency_key!r} and is not finished. Use it."
        )

"""What people ask of jobs: cancel, pause, resume, retry, prioritise. A running one is asked, others obey at once."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select

from registry.dialect import now
from registry.errors import Conflict, IllegalTransition, NotFound
from registry.jobs.moves import move, note
from registry.jobs.needs import require_priority
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
        job.finished_at = now()
        move(uow, job, JobState.CANCELLED, "cancelled")


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


def prioritise(uow: UnitOfWork, job: JobRow, priority: int) -> None:
    """Give a job another place in the line; of a running one it counts should it be taken up again."""
    require_priority(priority)
    if job.state not in UNFINISHED:
        raise IllegalTransition(f"job {job.id} is {job.state}: only a job that has not ended has a place in the line.")
    if job.priority != priority:
        before, job.priority = job.priority, priority
        note(uow, job, "prioritised", before=before, after=priority)


def cancel_pending(uow: UnitOfWork, conditions: Sequence[ColumnElement[bool]]) -> list[JobRow]:
    """Cancel every queued job that meets `conditions`, oldest first; a job that is just being claimed runs on."""
    queued = select(JobRow).where(JobRow.state == JobState.QUEUED, *conditions)
    rows = uow.session.scalars(queued.order_by(JobRow.id).with_for_update()).all()
    for row in rows:
        cancel(uow, row)
    return list(rows)


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

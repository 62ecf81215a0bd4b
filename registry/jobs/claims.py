"""Claiming: one short transaction that gives the next job to exactly one worker."""

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Select, select

from registry.dialect import now
from registry.jobs.lease import Lease
from registry.jobs.moves import lease_of, move, note
from registry.states import JobState, Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def claim(uow: UnitOfWork, worker: str, lanes: Iterable[str], lease_seconds: float) -> Lease | None:
    """The oldest job of the highest priority that can run, leased to `worker`; None when there is none.

    A job whose lease ran out is settled first: cancelled or paused if that was wanted, dead if it has used up its
    attempts, and otherwise it is a candidate like any other.
    """
    in_lanes = JobRow.lane.in_(tuple(lanes))
    while job := uow.session.scalar(_next(in_lanes)):
        if job.state == JobState.RUNNING and _settle(uow, job):
            continue
        return _lease(uow, job, worker, lease_seconds)
    return None


def _next(in_lanes: ColumnElement[bool]) -> Select[JobRow]:
    waiting = (JobRow.state == JobState.QUEUED) & (JobRow.run_at <= now())
    abandoned = (JobRow.state == JobState.RUNNING) & (JobRow.lease_until <= now())
    oldest_first = (JobRow.priority.desc(), JobRow.run_at, JobRow.id)
    query = select(JobRow).where(in_lanes, waiting | abandoned).order_by(*oldest_first).limit(1)
    return query.with_for_update(skip_locked=True)


def _settle(uow: UnitOfWork, job: JobRow) -> bool:
    """End an abandoned job that must not run again; False when it may."""
    owner = job.lease_owner
    if job.wanted == Wanted.CANCEL:
        job.finished_at = now()
        move(uow, job, JobState.CANCELLED, "cancelled", abandoned_by=owner)
    elif job.wanted == Wanted.PAUSE:
        job.attempt -= 1
        move(uow, job, JobState.PAUSED, "paused", abandoned_by=owner)
    elif job.attempt >= job.max_attempts:
        job.finished_at = now()
        job.last_error = f"attempt {job.attempt} of {job.max_attempts}: {owner} stopped answering"
        move(uow, job, JobState.DEAD, "died", abandoned_by=owner)
    else:
        return False
    return True


def _lease(uow: UnitOfWork, job: JobRow, worker: str, seconds: float) -> Lease:
    abandoned_by = job.lease_owner
    job.attempt += 1
    job.lease_token += 1
    job.lease_owner = worker
    job.lease_until = now(seconds)
    job.started_at = now()
    if job.state == JobState.QUEUED:
        move(uow, job, JobState.RUNNING, "claimed", worker=worker)
    else:
        note(uow, job, "reclaimed", worker=worker, abandoned_by=abandoned_by)
    return lease_of(uow, job)


def claim_job(uow: UnitOfWork, job: JobRow, worker: str, lease_seconds: float) -> Lease | None:
    """That very job, leased to `worker`; None while it is not due, held by somebody else, or ended."""
    this = uow.session.scalar(_next(JobRow.id == job.id))
    if this is None or (this.state == JobState.RUNNING and _settle(uow, this)):
        return None
    return _lease(uow, this, worker, lease_seconds)

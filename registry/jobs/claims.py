"""Claiming: one short transaction that gives the next job to exactly one worker."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, TextClause, select, update

from registry.dialect import now
from registry.jobs.lease import Lease
from registry.jobs.moves import job_of, lease_on, move, note
from registry.jobs.needs import Offers, fits
from registry.jobs.wishes import require_job
from registry.states import LEGAL_JOB_STATES, JobState, Wanted, require_legal
from registry.tables import JobRow
from registry.tables.job import CLAIMABLE, IN_ORDER
from registry.unit_of_work import UnitOfWork


def claim(uow: UnitOfWork, worker: str, lanes: Sequence[str], lease_seconds: float, offers: Offers) -> Lease | None:
    """The oldest job of the highest priority that can run on `offers`, leased to `worker`; None when there is none.

    A job whose lease ran out is settled first: cancelled or paused if that was wanted, dead if it has used up its
    attempts, and otherwise it is a candidate like any other.
    """
    while job := _next_of(uow, lanes, offers):
        if job.state == JobState.RUNNING and _settle(uow, job):
            continue
        return _lease(uow, job, worker, lease_seconds)
    return None


def claim_job(uow: UnitOfWork, job: int, worker: str, lease_seconds: float, offers: Offers) -> Lease | None:
    """That very job, leased to `worker`; None while it is not due, held, too big for it, or ended. Raises NotFound."""
    this = uow.session.scalar(locked(JobRow.id == job, offers))
    if this is None:
        require_job(uow, job)
        return None
    if this.state == JobState.RUNNING and _settle(uow, this):
        return None
    return _lease(uow, this, worker, lease_seconds)


def locked(among: ColumnElement[bool], offers: Offers) -> Select[JobRow]:
    """The query for the next job `among` those, locked; it walks along the index of claimable rows, in its order."""
    return (
        select(JobRow).where(*_claimable(among, offers)).order_by(*IN_ORDER).limit(1).with_for_update(skip_locked=True)
    )


def _claimable(among: ColumnElement[bool], offers: Offers) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """Those that can run here; and those, whatever they need, that were abandoned and must not run again."""
    waiting = (JobRow.state == JobState.QUEUED) & (JobRow.run_at <= now())
    abandoned = (JobRow.state == JobState.RUNNING) & (JobRow.lease_until <= now())
    is_over = (JobRow.wanted != Wanted.RUN) | (JobRow.attempt >= JobRow.max_attempts)
    return (CLAIMABLE, among, (waiting & fits(offers)) | (abandoned & (fits(offers) | is_over)))


def _next_of(uow: UnitOfWork, lanes: Sequence[str], offers: Offers) -> JobRow | None:
    for lane in _most_urgent_first(uow, lanes, offers):
        if job := uow.session.scalar(locked(JobRow.lane == lane, offers)):
            return job
    return None


def _most_urgent_first(uow: UnitOfWork, lanes: Sequence[str], offers: Offers) -> Sequence[str]:
    """The lanes by their first jobs: the index is in order within one lane, so each is asked for its own."""
    if len(lanes) < 2:
        return lanes
    query = select(JobRow.priority, JobRow.run_at, JobRow.id).order_by(*IN_ORDER).limit(1)
    heads = [
        (uow.session.execute(query.where(*_claimable(JobRow.lane == lane, offers))).first(), lane) for lane in lanes
    ]
    return [lane for _, lane in sorted(((-head[0], head[1], head[2]), lane) for head, lane in heads if head)]


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
    action, told = "reclaimed", {"worker": worker, "abandoned_by": job.lease_owner}
    if job.state == JobState.QUEUED:
        require_legal(f"job {job.id}", JobState(job.state), JobState.RUNNING, LEGAL_JOB_STATES)
        action, told = "claimed", {"worker": worker}
    taken = (
        update(JobRow)
        .where(JobRow.id == job.id)
        .values(
            state=JobState.RUNNING,
            attempt=JobRow.attempt + 1,
            lease_token=JobRow.lease_token + 1,
            lease_owner=worker,
            lease_until=now(seconds),
            started_at=now(),
        )
        .returning(JobRow)
    )
    options = {"populate_existing": True, "synchronize_session": False}
    row = uow.session.scalars(taken, execution_options=options).one()
    note(uow, row, action, **told)
    return lease_on(job_of(row))

"""Changing a job's state: checked against the table of legal moves, and written down."""

import dataclasses
from typing import Any

from sqlalchemy import insert

from registry.errors import LeaseLost
from registry.jobs.lease import Job, Lease
from registry.states import LEGAL_JOB_STATES, JobState, Wanted, require_legal
from registry.tables import JobEventRow, JobRow
from registry.unit_of_work import UnitOfWork

LINE = insert(JobEventRow.__table__)  # type: ignore[arg-type]
"""A plain statement: nobody needs the row as an object."""


def move(uow: UnitOfWork, job: JobRow, state: JobState, action: str, **detail: Any) -> None:
    """Give a job its next state; a job that no longer runs has no lease. Raises IllegalTransition."""
    require_legal(f"job {job.id}", JobState(job.state), state, LEGAL_JOB_STATES)
    job.state = state
    if state != JobState.RUNNING:
        job.lease_until = None
        job.lease_owner = None
        job.wanted = Wanted.RUN
    note(uow, job, action, **detail)


def note(uow: UnitOfWork, job: JobRow, action: str, **detail: Any) -> None:
    """Write one line of a job's history."""
    uow.session.flush()
    line = {"job_id": job.id, "actor": uow.actor, "action": action, "attempt": job.attempt, "detail": detail}
    uow.session.execute(LINE, line)


def written_job(uow: UnitOfWork, row: JobRow) -> Job:
    """A job as this unit has written it, with what the database's clock made of its times."""
    uow.session.flush()
    uow.session.refresh(row)
    return job_of(row)


def job_of(row: JobRow) -> Job:
    """A job as it was read."""
    return Job(**{field.name: getattr(row, field.name) for field in dataclasses.fields(Job)})


def lease_of(uow: UnitOfWork, row: JobRow) -> Lease:
    """The lease that a running job is under, as this unit has written it. Raises LeaseLost where there is none."""
    return lease_on(written_job(uow, row))


def lease_on(job: Job) -> Lease:
    """The lease that a job was under when it was read. Raises LeaseLost where there is none."""
    if job.lease_until is None or job.lease_owner is None:
        raise LeaseLost(f"job {job.id} is {job.state}: nobody holds a lease on it.")
    return Lease(job, job.lease_token, job.lease_owner, job.lease_until)

"""Fencing: a write about a job counts only while the writer's lease token is the job's newest."""

from typing import Any

from sqlalchemy import ColumnElement, select, update

from registry.errors import LeaseLost
from registry.jobs.lease import Lease
from registry.states import JobState, Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def hold(uow: UnitOfWork, lease: Lease) -> JobRow:
    """The leased job, locked until this unit ends, so that all that the unit writes is fenced. Raises LeaseLost."""
    row = uow.session.scalar(select(JobRow).where(*_is_held(lease)).with_for_update())
    if row is None:
        raise _lost(lease)
    return row


def write(uow: UnitOfWork, lease: Lease, **values: Any) -> Wanted:
    """Set columns of the leased job in one statement; brings back what is wanted of it. Raises LeaseLost."""
    statement = update(JobRow).where(*_is_held(lease)).values(**values).returning(JobRow.wanted)
    wanted = uow.session.scalar(statement, execution_options={"synchronize_session": False})
    if wanted is None:
        raise _lost(lease)
    return Wanted(wanted)


def _is_held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (JobRow.id == lease.job.id, JobRow.lease_token == lease.token, JobRow.state == JobState.RUNNING)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"job {lease.job.id}: lease {lease.token} of {lease.owner} is over: the job was taken up or ended. "
        "Stop, and write nothing more about it."
    )

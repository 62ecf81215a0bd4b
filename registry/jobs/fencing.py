"""Fencing: a write about a job counts only while the writer's lease token is the job's newest."""

from sqlalchemy import select

from registry.errors import LeaseLost
from registry.jobs.lease import Lease
from registry.states import JobState
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def hold(uow: UnitOfWork, lease: Lease) -> JobRow:
    """The leased job, locked until this unit ends, so that all that the unit writes is fenced. Raises LeaseLost."""
    mine = (JobRow.id == lease.job.id, JobRow.lease_token == lease.token, JobRow.state == JobState.RUNNING)
    row = uow.session.scalar(select(JobRow).where(*mine).with_for_update())
    if row is None:
        raise LeaseLost(
            f"job {lease.job.id}: lease {lease.token} of {lease.owner} is over: the job was taken up or ended. "
            "Stop, and write nothing more about it."
        )
    return row

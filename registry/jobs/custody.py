"""Who sees to it that a lease stays alive: the worker that claimed the job, or the job's own process after it.

The token stays the same, so whatever holds it goes on; only the name of the keeper and the end of the lease change.
"""

from sqlalchemy import select

from registry.dialect import now
from registry.errors import LeaseLost
from registry.jobs.fencing import hold
from registry.jobs.lease import Lease
from registry.jobs.moves import lease_of, note
from registry.states import Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def keep(uow: UnitOfWork, lease: Lease, keeper: str, lease_seconds: float, spare_seconds: float) -> Wanted:
    """Prolong the lease in the name of `keeper`, once it is nobody else's care: less than `spare_seconds` are left."""
    job = hold(uow, lease)
    is_neglected = uow.session.scalar(select(JobRow.lease_until <= now(spare_seconds)).where(JobRow.id == job.id))
    if job.lease_owner == keeper or is_neglected:
        if job.lease_owner != keeper:
            note(uow, job, "kept", worker=keeper, neglected_by=job.lease_owner)
        job.lease_owner = keeper
        job.lease_until = now(lease_seconds)
    return Wanted(job.wanted)


def take_over(uow: UnitOfWork, lease: Lease, worker: str, lease_seconds: float) -> Lease:
    """The same lease in the care of `worker`. Raises LeaseLost when it is not its owner's any more."""
    job = hold(uow, lease)
    if job.lease_owner != lease.owner:
        raise LeaseLost(f"job {job.id}: {job.lease_owner} sees to it now, not {lease.owner}.")
    job.lease_owner = worker
    job.lease_until = now(lease_seconds)
    note(uow, job, "re-attached", worker=worker, kept_by=lease.owner)
    return lease_of(uow, job)

"""Reading jobs: pages of them, counts, the line in which they wait, and whether there is anything to do."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select

from registry.errors import InvalidName, NotFound
from registry.jobs.lease import Job
from registry.jobs.moves import job_of
from registry.jobs.needs import Offers, fits
from registry.states import JobState
from registry.tables import JobRow
from registry.tables.job import CLAIMABLE, IN_ORDER
from registry.unit_of_work import UnitOfWork

LARGEST_PAGE = 1_000


def conditions(
    *, state: str | None = None, kind: str | None = None, lane: str | None = None
) -> list[ColumnElement[bool]]:
    """What a job has to be. Raises InvalidName for a state that there is not."""
    if state is not None and state not in set(JobState):
        raise InvalidName(f"state {state!r}: expected one of {', '.join(JobState)}.")
    asked = ((state, JobRow.state), (kind, JobRow.kind), (lane, JobRow.lane))
    return [column == said for said, column in asked if said is not None]


def page(uow: UnitOfWork, wanted: Sequence[ColumnElement[bool]], limit: int, after: int | None) -> list[Job]:
    """Jobs, newest first, those before number `after`."""
    query = select(JobRow).where(*wanted).order_by(JobRow.id.desc()).limit(min(limit, LARGEST_PAGE))
    query = query if after is None else query.where(JobRow.id < after)
    return [job_of(row) for row in uow.session.scalars(query)]


def count(uow: UnitOfWork, wanted: Sequence[ColumnElement[bool]]) -> int:
    """How many jobs there are."""
    return uow.session.scalar(select(func.count()).select_from(JobRow).where(*wanted)) or 0


def line(uow: UnitOfWork, lane: str, limit: int) -> tuple[Job, ...]:
    """The queued jobs of a lane in the order in which they will be claimed."""
    queued = (CLAIMABLE, JobRow.lane == lane, JobRow.state == JobState.QUEUED)
    query = select(JobRow).where(*queued).order_by(*IN_ORDER).limit(min(limit, LARGEST_PAGE))
    return tuple(job_of(row) for row in uow.session.scalars(query))


def has_work(uow: UnitOfWork, lanes: Sequence[str], offers: Offers) -> bool:
    """Whether a job that fits waits in these lanes, now due or not, or is being run by anybody."""
    query = select(JobRow.id).where(CLAIMABLE, JobRow.lane.in_(lanes), fits(offers)).limit(1)
    return uow.session.scalar(query) is not None


def of_external_id(uow: UnitOfWork, external_id: str) -> Job:
    """The job that another system knows by that name, the newest of several. Raises NotFound."""
    query = select(JobRow).where(JobRow.external_id == external_id).order_by(JobRow.id.desc()).limit(1)
    row = uow.session.scalar(query)
    if row is None:
        raise NotFound(f"no job has external id {external_id!r}. Its worker attaches it when it has begun there.")
    return job_of(row)

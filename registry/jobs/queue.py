"""The queue: submit and watch jobs, claim them, and write about them under a lease."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from sqlalchemy import select

from registry.database import Database
from registry.dialect import now, upsert
from registry.errors import InvalidName
from registry.jobs import claims, custody, submission, wishes
from registry.jobs.fencing import hold
from registry.jobs.finishing import fail_held, finish_held, release_held
from registry.jobs.lease import Job, JobEvent, Lease, Metric
from registry.jobs.moves import job_of, written_job
from registry.states import JobState, Lane, Wanted
from registry.tables import JobEventRow, JobRow, MetricRow
from registry.unit_of_work import UnitOfWork

LEASE_SECONDS = 60.0
MAX_ATTEMPTS = 3
LARGEST_PAGE = 1_000


class HasDatabase(Protocol):
    """A registry, or anything else that keeps a catalog's database."""

    @property
    def database(self) -> Database: ...


class Queue:
    """Jobs in the registry's database. Every write of a worker is fenced: a zombie can write nothing."""

    def __init__(self, registry: HasDatabase) -> None:
        self._database = registry.database

    def submit(
        self,
        kind: str,
        spec: Mapping[str, Any],
        *,
        lane: str = Lane.BATCH,
        priority: int = 0,
        idempotency_key: str | None = None,
        max_attempts: int = MAX_ATTEMPTS,
    ) -> Job:
        """Queue a job; with a key that an unfinished job has, that job. Raises Conflict where its spec is another."""
        with self._database.writing() as uow:
            row = submission.submit(
                uow,
                kind,
                spec,
                lane=lane,
                priority=priority,
                idempotency_key=idempotency_key,
                max_attempts=max_attempts,
            )
            job = written_job(uow, row)
            uow.commit()
        return job

    def claim(
        self, worker: str, lanes: Iterable[str] = (Lane.BATCH,), lease_seconds: float = LEASE_SECONDS
    ) -> Lease | None:
        """The next job, leased to `worker`; None when nothing can run now."""
        with self._database.writing() as uow:
            lease = claims.claim(uow, worker, lanes, lease_seconds)
            uow.commit()
        return lease

    def claim_job(self, job: int, worker: str, lease_seconds: float = LEASE_SECONDS) -> Lease | None:
        """That very job, leased to `worker`; None when it cannot run now."""
        with self._database.writing() as uow:
            lease = claims.claim_job(uow, wishes.locked_job(uow, job), worker, lease_seconds)
            uow.commit()
        return lease

    def renew(
        self, lease: Lease, progress: Mapping[str, Any] | None = None, *, lease_seconds: float = LEASE_SECONDS
    ) -> Wanted:
        """The heartbeat: prolong the lease, perhaps report progress, learn what is wanted. Raises LeaseLost."""
        with self._database.writing() as uow:
            row = hold(uow, lease)
            row.lease_until = now(lease_seconds)
            if progress is not None:
                row.progress = dict(progress)
            wanted = Wanted(row.wanted)
            uow.commit()
        return wanted

    def keep(self, lease: Lease, keeper: str, *, lease_seconds: float, spare_seconds: float) -> Wanted:
        """The heartbeat of a process that outlives its worker: prolongs what the worker neglects. Raises LeaseLost."""
        with self._database.writing() as uow:
            wanted = custody.keep(uow, lease, keeper, lease_seconds, spare_seconds)
            uow.commit()
        return wanted

    def take_over(self, lease: Lease, worker: str, *, lease_seconds: float = LEASE_SECONDS) -> Lease:
        """The same lease in the care of `worker`. Raises LeaseLost when it is not its owner's any more."""
        with self._database.writing() as uow:
            taken = custody.take_over(uow, lease, worker, lease_seconds)
            uow.commit()
        return taken

    def progress(self, lease: Lease, progress: Mapping[str, Any]) -> Wanted:
        """Report progress without prolonging the lease; brings back what is wanted. Raises LeaseLost."""
        with self._database.writing() as uow:
            row = hold(uow, lease)
            row.progress = dict(progress)
            wanted = Wanted(row.wanted)
            uow.commit()
        return wanted

    def attach_log(self, lease: Lease, path: str) -> None:
        """Record where the job's log is. Raises LeaseLost."""
        with self._database.writing() as uow:
            hold(uow, lease).log_path = path
            uow.commit()

    def metric(self, lease: Lease, step: int, name: str, value: float) -> None:
        """Record one number at one step; the same step again overwrites it. Raises LeaseLost."""
        if not math.isfinite(value):
            raise InvalidName(
                f"metric {name} at step {step}: {value} is not finite. Stop the job: its state is broken."
            )
        row = {"job_id": lease.job.id, "name": name, "step": step, "value": float(value), "at": now()}
        with self._database.writing() as uow:
            hold(uow, lease)
            key = ("job_id", "name", "step")
            upsert(uow.session, MetricRow, row, key=key, update=("value", "at"))
            uow.commit()

    def finish(self, lease: Lease, result: Mapping[str, Any]) -> Job:
        """Record success. Raises LeaseLost."""
        return self._end(lease, lambda uow, row: finish_held(uow, row, dict(result)))

    def fail(self, lease: Lease, error: str, retry: bool = True, *, delay_seconds: float | None = None) -> Job:
        """Record failure, to be tried again or not (`finishing.fail_held` says when). Raises LeaseLost."""
        return self._end(lease, lambda uow, row: fail_held(uow, row, error, retry, delay_seconds))

    def release(self, lease: Lease) -> Job:
        """Put a job down as was wanted: cancelled, paused, or else queued again. Raises LeaseLost."""
        return self._end(lease, release_held)

    def cancel(self, job: int) -> Job:
        """Stop a job for good: at once when nobody works on it, otherwise at the worker's next heartbeat."""
        return self._wish(job, wishes.cancel)

    def pause(self, job: int) -> Job:
        """Stop a job until it is resumed; costs no attempt."""
        return self._wish(job, wishes.pause)

    def resume(self, job: int) -> Job:
        """Queue a paused job again."""
        return self._wish(job, wishes.resume)

    def retry(self, job: int) -> Job:
        """Queue a job that failed, died or was cancelled once more."""
        return self._wish(job, wishes.retry)

    def get(self, job: int) -> Job:
        """The job of that number. Raises NotFound."""
        with self._database.reading() as uow:
            return job_of(wishes.require_job(uow, job))

    def list(
        self, *, state: str | None = None, kind: str | None = None, limit: int = 50, after: int | None = None
    ) -> list[Job]:
        """Jobs, newest first; `after` is the number of the last one of the page before."""
        if state is not None and state not in set(JobState):
            raise InvalidName(f"state {state!r}: expected one of {', '.join(JobState)}.")
        query = select(JobRow).order_by(JobRow.id.desc()).limit(min(limit, LARGEST_PAGE))
        for condition, column in ((state, JobRow.state), (kind, JobRow.kind)):
            query = query if condition is None else query.where(column == condition)
        query = query if after is None else query.where(JobRow.id < after)
        with self._database.reading() as uow:
            return [job_of(row) for row in uow.session.scalars(query).all()]

    def events(self, job: int) -> tuple[JobEvent, ...]:
        """A job's history, oldest first. Raises NotFound."""
        with self._database.reading() as uow:
            wishes.require_job(uow, job)
            rows = uow.session.scalars(select(JobEventRow).where(JobEventRow.job_id == job).order_by(JobEventRow.id))
            return tuple(JobEvent(row.at, row.actor, row.action, row.attempt, row.detail) for row in rows)

    def metrics(self, job: int, name: str | None = None, *, after_step: int = -1) -> tuple[Metric, ...]:
        """A job's numbers in the order of their steps, of one name or of all. Raises NotFound."""
        query = select(MetricRow).where(MetricRow.job_id == job, MetricRow.step > after_step)
        query = query if name is None else query.where(MetricRow.name == name)
        with self._database.reading() as uow:
            wishes.require_job(uow, job)
            rows = uow.session.scalars(query.order_by(MetricRow.name, MetricRow.step))
            return tuple(Metric(row.step, row.name, row.value, row.at) for row in rows)

    def _end(self, lease: Lease, end: Callable[[UnitOfWork, JobRow], None]) -> Job:
        with self._database.writing() as uow:
            row = hold(uow, lease)
            end(uow, row)
            job = written_job(uow, row)
            uow.commit()
        return job

    def _wish(self, number: int, wish: Callable[[UnitOfWork, JobRow], None]) -> Job:
        with self._database.writing() as uow:
            row = wishes.locked_job(uow, number)
            wish(uow, row)
            job = written_job(uow, row)
            uow.commit()
        return job

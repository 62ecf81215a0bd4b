"""The queue: submit and watch jobs, claim them, and write about them under a lease."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import select

from registry.database import Database
from registry.dialect import now, upsert_all
from registry.errors import InvalidName
from registry.jobs import claims, custody, listing, submission, wishes
from registry.jobs.fencing import hold, write
from registry.jobs.finishing import fail_held, finish_held, release_held
from registry.jobs.lease import Job, JobEvent, Lease, Metric
from registry.jobs.logs import PIECE_BYTES, LogPiece, read_piece
from registry.jobs.moves import job_of, written_job
from registry.jobs.needs import NOTHING_SPECIAL, Offers
from registry.states import JobState, Lane, Wanted
from registry.tables import JobEventRow, JobRow, MetricRow
from registry.unit_of_work import UnitOfWork

LEASE_SECONDS = 60.0
MAX_ATTEMPTS = 3
Number = tuple[int, str, float]
"""A metric to be written: its step, its name, its value."""


class HasDatabase(Protocol):
    """A registry, or anything else that keeps a catalog's database."""

    @property
    def database(self) -> Database: ...


class Queue:
    """Jobs in the registry's database. Every write of a worker is fenced: a zombie can write nothing.

    Nothing here waits for the catalog's writers but what looks at a second job: a submission under a key, and a retry.
    """

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
        needs_gpu: int = 0,
        needs_memory: int = 0,
    ) -> Job:
        """Queue a job; with a key that an unfinished job has, that job. Raises Conflict where its spec is another.

        It is claimed only by a worker that offers `needs_gpu` GPUs and `needs_memory` bytes.
        """
        with self._database.writing_rows() if idempotency_key is None else self._database.writing() as uow:
            row = submission.submit(
                uow,
                kind,
                spec,
                lane=lane,
                priority=priority,
                idempotency_key=idempotency_key,
                max_attempts=max_attempts,
                needs_gpu=needs_gpu,
                needs_memory=needs_memory,
            )
            job = written_job(uow, row)
            uow.commit()
        return job

    def claim(
        self,
        worker: str,
        lanes: Iterable[str] = (Lane.BATCH,),
        lease_seconds: float = LEASE_SECONDS,
        *,
        offers: Offers = NOTHING_SPECIAL,
    ) -> Lease | None:
        """The next job that fits what is offered, leased to `worker`; None when nothing can run now."""
        with self._database.writing_rows() as uow:
            lease = claims.claim(uow, worker, tuple(lanes), lease_seconds, offers)
            uow.commit()
        return lease

    def claim_job(
        self, job: int, worker: str, lease_seconds: float = LEASE_SECONDS, *, offers: Offers = NOTHING_SPECIAL
    ) -> Lease | None:
        """That very job, leased to `worker`; None when it cannot run now, or not on what is offered."""
        with self._database.writing_rows() as uow:
            lease = claims.claim_job(uow, job, worker, lease_seconds, offers)
            uow.commit()
        return lease

    def renew(
        self, lease: Lease, progress: Mapping[str, Any] | None = None, *, lease_seconds: float = LEASE_SECONDS
    ) -> Wanted:
        """The heartbeat: prolong the lease, perhaps report progress, learn what is wanted. Raises LeaseLost."""
        reported = {} if progress is None else {"progress": dict(progress)}
        return self._write(lease, lease_until=now(lease_seconds), **reported)

    def keep(self, lease: Lease, keeper: str, *, lease_seconds: float, spare_seconds: float) -> Wanted:
        """The heartbeat of a process that outlives its worker: prolongs what the worker neglects. Raises LeaseLost."""
        with self._database.writing_rows() as uow:
            wanted = custody.keep(uow, lease, keeper, lease_seconds, spare_seconds)
            uow.commit()
        return wanted

    def take_over(self, lease: Lease, worker: str, *, lease_seconds: float = LEASE_SECONDS) -> Lease:
        """The same lease in the care of `worker`. Raises LeaseLost when it is not its owner's any more."""
        with self._database.writing_rows() as uow:
            taken = custody.take_over(uow, lease, worker, lease_seconds)
            uow.commit()
        return taken

    def progress(self, lease: Lease, progress: Mapping[str, Any]) -> Wanted:
        """Report progress without prolonging the lease; brings back what is wanted. Raises LeaseLost."""
        return self._write(lease, progress=dict(progress))

    def attach_log(self, lease: Lease, path: str) -> None:
        """Record where the job's log is. Raises LeaseLost."""
        self._write(lease, log_path=path)

    def attach_external(self, lease: Lease, external_id: str) -> None:
        """Record how the system that runs the job calls it, for `by_external`; outlives the lease. Raises LeaseLost."""
        self._write(lease, external_id=external_id)

    def metric(self, lease: Lease, step: int, name: str, value: float) -> None:
        """Record one number at one step; the same step again overwrites it. Raises LeaseLost."""
        self.write_metrics(lease, [(step, name, value)])

    def write_metrics(self, lease: Lease, numbers: Iterable[Number]) -> None:
        """Record many numbers, each (step, name, value), in one statement: all or none. Raises LeaseLost."""
        newest = {(step, name): _finite(step, name, value) for step, name, value in numbers}
        rows = [
            {"job_id": lease.job.id, "name": name, "step": step, "value": value}
            for (step, name), value in newest.items()
        ]
        with self._database.writing_rows() as uow:
            hold(uow, lease)
            upsert_all(uow.session, MetricRow, rows, key=("job_id", "name", "step"), update=("value",), stamp="at")
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
        return self._wish(job, wishes.retry, self._database.writing())

    def prioritise(self, job: int, priority: int) -> Job:
        """Move an unfinished job in its line: the highest priority goes first, and 0 is the ordinary one."""
        return self._wish(job, lambda uow, row: wishes.prioritise(uow, row, priority))

    def cancel_pending(self, *, kind: str | None = None, lane: str | None = None) -> list[Job]:
        """Cancel every queued job, of one kind or lane or of all: together, or none. What runs is left alone."""
        with self._database.writing_rows() as uow:
            rows = wishes.cancel_pending(uow, listing.conditions(kind=kind, lane=lane))
            jobs = [written_job(uow, row) for row in rows]
            uow.commit()
        return jobs

    def get(self, job: int) -> Job:
        """The job of that number. Raises NotFound."""
        with self._database.reading() as uow:
            return job_of(wishes.require_job(uow, job))

    def by_external(self, external_id: str) -> Job:
        """The job that another system knows by that name, the newest of several. Raises NotFound."""
        with self._database.reading() as uow:
            return listing.of_external_id(uow, external_id)

    def list(
        self,
        *,
        state: str | None = None,
        kind: str | None = None,
        lane: str | None = None,
        limit: int = 50,
        after: int | None = None,
    ) -> list[Job]:
        """Jobs, newest first; `after` is the number of the last one of the page before."""
        with self._database.reading() as uow:
            return listing.page(uow, listing.conditions(state=state, kind=kind, lane=lane), limit, after)

    def count(self, *, state: str | None = None, kind: str | None = None, lane: str | None = None) -> int:
        """How many jobs `list` would give without its limit."""
        with self._database.reading() as uow:
            return listing.count(uow, listing.conditions(state=state, kind=kind, lane=lane))

    def line(self, lane: str = Lane.BATCH, limit: int = listing.LARGEST_PAGE) -> tuple[Job, ...]:
        """The queued jobs of a lane, in the order in which they will be claimed."""
        with self._database.reading() as uow:
            return listing.line(uow, lane, limit)

    def has_work(self, lanes: Iterable[str] = (Lane.BATCH,), *, offers: Offers = NOTHING_SPECIAL) -> bool:
        """Whether a job that fits what is offered waits in these lanes, now due or not, or is being run by anybody."""
        with self._database.reading() as uow:
            return listing.has_work(uow, tuple(lanes), offers)

    def log(self, job: int, offset: int = 0, *, limit: int = PIECE_BYTES) -> LogPiece:
        """A piece of the job's log from byte `offset` on; empty where no more is there yet, or here.

        A job that is under way may write more: call again with the piece's `next_offset`. Raises NotFound, InvalidName.
        """
        seen = self.get(job)
        is_over = seen.state not in (JobState.QUEUED, JobState.RUNNING)
        return read_piece(Path(seen.log_path) if seen.log_path else None, offset, limit, is_whole=is_over)

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

    def _write(self, lease: Lease, **values: Any) -> Wanted:
        with self._database.writing_rows() as uow:
            wanted = write(uow, lease, **values)
            uow.commit()
        return wanted

    def _end(self, lease: Lease, end: Callable[[UnitOfWork, JobRow], None]) -> Job:
        with self._database.writing_rows() as uow:
            row = hold(uow, lease)
            end(uow, row)
            job = written_job(uow, row)
            uow.commit()
        return job

    def _wish(self, number: int, wish: Callable[[UnitOfWork, JobRow], None], unit: UnitOfWork | None = None) -> Job:
        with unit or self._database.writing_rows() as uow:
            row = wishes.locked_job(uow, number)
            wish(uow, row)
            job = written_job(uow, row)
            uow.commit()
        return job


def _finite(step: int, name: str, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidName(f"metric {name} at step {step}: {value} is not finite. Stop the job: its state is broken.")
    return float(value)

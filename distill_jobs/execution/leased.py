"""One job in this very process: under a lease that somebody else took for it, or under one of its own."""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from distill_jobs.errors import NotClaimable, UnknownJobKind
from distill_jobs.execution.attempt import LEASE_LOST, attempt, held_lease, job_folder
from distill_jobs.execution.heartbeat import Heartbeat
from distill_jobs.execution.machine import offers_of
from distill_jobs.execution.stopping import StopRequests
from registry import LeaseLost, Registry
from registry.jobs import LEASE_SECONDS, Lease, Queue, Wanted

LEASE_VARIABLE = "TAU_JOB_LEASE"
"""By this variable of its environment a job's process is told under which lease it works."""

BEATS_PER_LEASE = 6
SPARE = 0.4
"""Part of a lease that is left when a worker has missed a heartbeat, and its process begins to keep the lease."""


@dataclass(frozen=True)
class Custody:
    """A lease that a worker took, by its token, and the name in which the job's process keeps it after the worker."""

    token: int
    keeper: str
    lease_seconds: float

    def to_text(self) -> str:
        """token:seconds:keeper."""
        return f"{self.token}:{self.lease_seconds:g}:{self.keeper}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """What `to_text` made. Raises NotClaimable for anything else."""
        try:
            token, seconds, keeper = text.split(":", 2)
            return cls(int(token), keeper, float(seconds))
        except ValueError as error:
            raise NotClaimable(
                f"{LEASE_VARIABLE} {text!r}: expected token:seconds:keeper, as a worker gives it"
            ) from error


def run_leased(
    registry: Registry,
    kinds: Mapping[str, str],
    job: int,
    *,
    custody: Custody | None = None,
) -> int:
    """Run that very job here until it has ended, or until SIGTERM; returns an exit code.

    With `custody` it works under a lease that is there, and prolongs it as soon as nobody else does. Raises
    NotClaimable without it, when the job cannot run now.
    """
    queue, stop = Queue(registry), StopRequests()
    lease_seconds = LEASE_SECONDS if custody is None else custody.lease_seconds
    with stop.listening():
        try:
            lease = _claimed(queue, job, lease_seconds) if custody is None else held_lease(queue, job, custody.token)
        except LeaseLost as error:
            print(error, flush=True)
            return LEASE_LOST
        keeper = lease.owner if custody is None else custody.keeper

        def renew() -> Wanted:
            return queue.keep(lease, keeper, lease_seconds=lease_seconds, spare_seconds=lease_seconds * SPARE)

        with Heartbeat(renew, lease_seconds / BEATS_PER_LEASE) as heartbeat:
            return _attempt(registry, kinds, lease, lambda: stop.reason or heartbeat.reason)


def _attempt(registry: Registry, kinds: Mapping[str, str], lease: Lease, stopping: Callable[[], str | None]) -> int:
    function = kinds.get(lease.job.kind)
    if function is None:
        error = UnknownJobKind(f"job {lease.job.id}: kind {lease.job.kind!r}, known are {', '.join(sorted(kinds))}")
        Queue(registry).fail(lease, str(error), retry=False)
        raise error
    folder = job_folder(registry, lease.job.id)
    folder.mkdir(parents=True, exist_ok=True)
    return attempt(registry, lease, function, folder, stopping)


def _claimed(queue: Queue, job: int, lease_seconds: float) -> Lease:
    lease = queue.claim_job(job, f"{socket.gethostname()}:{os.getpid()}", lease_seconds, offers=offers_of())
    if lease is None:
        seen = queue.get(job)
        raise NotClaimable(
            f"job {job} is {seen.state}; only a queued job that is due, and that this machine can serve, runs"
        )
    return lease

"""The supervisor: claims jobs, runs each in a process of its own, keeps the leases alive, and passes requests on."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from distill_jobs.errors import ClusterUnreachable, UnknownJobKind
from distill_jobs.execution.attempt import LOG, job_folder
from distill_jobs.execution.executors import Assignment, Executor, JobProcess, LocalExecutor
from distill_jobs.execution.rounds import go_round
from distill_jobs.execution.slots import Slots
from registry import LeaseLost, Registry
from registry.jobs import LEASE_SECONDS, Job, JobState, Lane, Lease, Queue, Wanted

LARGEST_PAGE = 1_000


@dataclass(frozen=True)
class Pace:
    """How often a worker does what, in seconds. A heartbeat comes three times in a lease."""

    lease_seconds: float = LEASE_SECONDS
    grace_seconds: float = 30.0
    poll_seconds: float = 0.25


@dataclass
class Running:
    """A job under way: its lease, process and slot, when its next heartbeat is due and when it must have stopped."""

    lease: Lease
    process: JobProcess
    slot: int
    heartbeat_at: float
    stop_by: float | None = None


class Worker:
    """Runs up to `slots` jobs of `kinds` (kind -> "module:function") from the queue of `registry` at a time.

    With `devices` each slot has one of them. Where the executor's processes go on without their worker, those of a
    worker that is gone are found again and looked after.
    """

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, str],
        *,
        name: str | None = None,
        executor: Executor | None = None,
        lanes: Sequence[str] = (Lane.BATCH,),
        slots: int | None = None,
        devices: Sequence[str] = (),
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.running: list[Running] = []
        self._registry, self._queue, self._kinds = registry, Queue(registry), kinds
        self._executor = executor or LocalExecutor()
        self._lanes, self._pace, self._clock = lanes, pace or Pace(), clock
        self._slots = Slots.of(slots, devices)
        self._search_at = self._rest_until = clock()
        self._is_stopping = False

    def run(self, *, until_idle: bool = False, watch: Callable[[], object] | None = None) -> bool:
        """Work until SIGTERM, or with `until_idle` until no job of these lanes is queued or running anywhere.

        However it ends, running jobs are asked to stop, write their checkpoints and are queued again. Returns whether
        it ended because it was idle. `watch` is called after every look at the jobs.
        """
        return go_round([self], poll_seconds=self._pace.poll_seconds, until_idle=until_idle, watch=watch)

    def take_up(self) -> None:
        """Claim and start jobs while a slot is free; before that, find those again that go on without a worker."""
        if self._clock() >= self._search_at:
            self._search_at = self._next_heartbeat()
            self._find_again()
        while self._clock() >= self._rest_until and (slot := self._free_slot()) is not None:
            offers = self._executor.offers(self._slots.device(slot))
            lease = self._queue.claim(self.name, self._lanes, self._pace.lease_seconds, offers=offers)
            if lease is None:
                return
            self._start(lease, slot)

    def look_after(self) -> None:
        """Settle jobs whose process ended, send the heartbeats that are due, end those that outstay their grace."""
        for job in list(self.running):
            ending = job.process.ending()
            if ending is not None:
                self._settle(job, ending)
            elif job.stop_by is not None and self._clock() >= job.stop_by:
                job.process.kill()
            elif self._clock() >= job.heartbeat_at:
                self._heartbeat(job)

    def stop(self) -> None:
        """Leave the processes that go on without us to themselves. Have every other job write a checkpoint and put it
        down for somebody else; kill what takes too long."""
        self._is_stopping = True
        for job in list(self.running):
            if job.process.external_id is None:
                self._ask_to_stop(job)
            else:
                self._leave(job, job.process.external_id)
        while self.running:
            self.look_after()
            time.sleep(self._pace.poll_seconds)

    def is_idle(self) -> bool:
        """Whether no job of these lanes that this worker could run is queued or running, here or anywhere."""
        offered = {self._executor.offers(device) for device in self._slots.devices or (None,)}
        return not self.running and not any(self._queue.has_work(self._lanes, offers=offers) for offers in offered)

    def folder(self, job: int) -> Path:
        """The folder of a job: its log, its checkpoint, its result."""
        return job_folder(self._registry, job)

    def _free_slot(self) -> int | None:
        return self._slots.free({job.slot for job in self.running})

    def _start(self, lease: Lease, slot: int) -> None:
        function = self._kinds.get(lease.job.kind)
        if function is None:
            known = ", ".join(sorted(self._kinds))
            error = UnknownJobKind(f"job {lease.job.id}: kind {lease.job.kind!r}, this worker knows {known}")
            self._queue.fail(lease, str(error), retry=False)
            return
        folder = self.folder(lease.job.id)
        folder.mkdir(parents=True, exist_ok=True)
        self._queue.attach_log(lease, str(folder / LOG))
        assignment = self._assignment(lease.job, slot)
        if (name := self._executor.external_id(assignment)) is not None:
            self._queue.attach_external(lease, name)
        try:
            process = self._executor.start(assignment, folder / LOG)
        except ClusterUnreachable:
            self._queue.release(lease)
            self._rest_until = self._next_heartbeat()
            return
        self.running.append(Running(lease, process, slot, self._next_heartbeat()))

    def _find_again(self) -> None:
        """Look after the processes that keep their leases themselves, because the worker that started them is gone."""
        for job in self._queue.list(state=JobState.RUNNING, limit=LARGEST_PAGE):
            slot = self._free_slot()
            if slot is None or job.lane not in self._lanes or job.lease_until is None:
                continue
            assignment = self._assignment(job, slot)
            if job.lease_owner is None or job.lease_owner != self._executor.external_id(assignment):
                continue
            process = self._executor.find(assignment, self.folder(job.id) / LOG)
            if process is not None:
                with suppress(LeaseLost):  # another worker was faster, or the job has just ended
                    lease = Lease(job, job.lease_token, job.lease_owner, job.lease_until)
                    lease = self._queue.take_over(lease, self.name, lease_seconds=self._pace.lease_seconds)
                    self.running.append(Running(lease, process, slot, self._next_heartbeat()))

    def _assignment(self, job: Job, slot: int) -> Assignment:
        return Assignment(
            home=str(self._registry.home),
            url=self._registry.url,
            actor=self._registry.database.actor,
            job=job.id,
            attempt=job.attempt,
            token=job.lease_token,
            function=self._kinds.get(job.kind, ""),
            folder=str(self.folder(job.id)),
            grace_seconds=self._pace.grace_seconds,
            lease_seconds=self._pace.lease_seconds,
            device=self._slots.device(slot),
            gpus=job.needs_gpu,
        )

    def _heartbeat(self, job: Running) -> None:
        job.heartbeat_at = self._next_heartbeat()
        if not job.process.is_in_sight:
            return  # it keeps its lease while it lives; what died out of sight is not to be kept for ever
        try:
            if job.process.external_id is not None and not self._is_ours(job, job.process.external_id):
                return
            wanted = self._queue.renew(job.lease, lease_seconds=self._pace.lease_seconds)
        except LeaseLost:
            self._end(job)
            return
        if wanted != Wanted.RUN:
            self._ask_to_stop(job)

    def _end(self, job: Running) -> None:
        """A process that has settled its job is about to end; one whose job somebody else took up ends now."""
        seen = self._queue.get(job.lease.job.id)
        if seen.lease_token != job.lease.token or seen.state == JobState.RUNNING:
            job.process.kill()
        elif job.stop_by is None:
            job.stop_by = self._clock() + self._pace.grace_seconds

    def _is_ours(self, job: Running, external_id: str) -> bool:
        """Whether we still see to that lease: taken back where the process keeps it, left where another worker does."""
        seen = self._queue.get(job.lease.job.id)
        if seen.lease_token != job.lease.token or seen.lease_owner in (None, self.name):
            return True
        if seen.lease_owner == external_id and seen.lease_until is not None:
            kept = Lease(seen, seen.lease_token, external_id, seen.lease_until)
            job.lease = self._queue.take_over(kept, self.name, lease_seconds=self._pace.lease_seconds)
            return True
        self.running.remove(job)
        return False

    def _leave(self, job: Running, external_id: str) -> None:
        """Give a lease into the care of its own process."""
        self.running.remove(job)
        with suppress(LeaseLost):
            mine = Lease(job.lease.job, job.lease.token, self.name, job.lease.until)
            self._queue.take_over(mine, external_id, lease_seconds=self._pace.lease_seconds)

    def _ask_to_stop(self, job: Running) -> None:
        if job.stop_by is None:
            job.process.ask_to_stop()
            job.stop_by = self._clock() + self._pace.grace_seconds

    def _settle(self, job: Running, ending: str) -> None:
        """A process that ended well has settled its job, so the lease is over; otherwise it is settled here."""
        self.running.remove(job)
        log = self.folder(job.lease.job.id) / LOG
        with suppress(LeaseLost):
            if self._is_stopping:
                self._queue.release(job.lease)
            else:
                self._queue.fail(job.lease, f"the job's process ended without a result ({ending}); its log: {log}")

    def _next_heartbeat(self) -> float:
        return self._clock() + self._pace.lease_seconds / 3

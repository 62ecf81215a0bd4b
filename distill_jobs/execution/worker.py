"""The supervisor: claims jobs, runs each in a process of its own, keeps the leases alive, and passes requests on."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from distill_jobs.errors import UnknownJobKind
from distill_jobs.execution.executors import Assignment, Executor, JobProcess, LocalExecutor
from registry import LeaseLost, Registry
from registry.jobs import LEASE_SECONDS, JobState, Lane, Lease, Queue, Wanted

JOBS_FOLDER = "jobs"
LOG = "job.log"


@dataclass(frozen=True)
class Pace:
    """How often a worker does what, in seconds. A heartbeat comes three times in a lease."""

    lease_seconds: float = LEASE_SECONDS
    grace_seconds: float = 30.0
    poll_seconds: float = 0.25


@dataclass
class Running:
    """A job under way: its lease, its process, when its next heartbeat is due and when it must have stopped."""

    lease: Lease
    process: JobProcess
    heartbeat_at: float
    stop_by: float | None = None


class Worker:
    """Runs up to `slots` jobs of `kinds` (kind -> "module:function") from the queue of `registry` at a time."""

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, str],
        *,
        name: str | None = None,
        executor: Executor | None = None,
        lanes: Sequence[str] = (Lane.BATCH,),
        slots: int = 1,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name or f"{socket.gethostname()}:{os.getpid()}"
        self.running: list[Running] = []
        self._registry, self._queue, self._kinds = registry, Queue(registry), kinds
        self._executor = executor or LocalExecutor()
        self._lanes, self._slots, self._pace, self._clock = lanes, slots, pace or Pace(), clock
        self._is_stopping = False

    def run(self, *, until_idle: bool = False, watch: Callable[[], object] | None = None) -> bool:
        """Work until SIGTERM, or with `until_idle` until no job of these lanes is queued or running anywhere.

        However it ends, running jobs are asked to stop, write their checkpoints and are queued again. Returns whether
        it ended because it was idle. `watch` is called after every look at the jobs.
        """
        asked = threading.Event()
        with _sigterm_sets(asked):
            try:
                while not asked.is_set():
                    self.look_after()
                    self.take_up()
                    if watch is not None:
                        watch()
                    if until_idle and self.is_idle():
                        return True
                    asked.wait(self._pace.poll_seconds)
                return False
            finally:
                self.stop()

    def take_up(self) -> None:
        """Claim and start jobs while a slot is free."""
        while len(self.running) < self._slots:
            lease = self._queue.claim(self.name, self._lanes, self._pace.lease_seconds)
            if lease is None:
                return
            self._start(lease)

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
        """Have every running job write a checkpoint and put it down for somebody else; kill what takes too long."""
        self._is_stopping = True
        for job in self.running:
            self._ask_to_stop(job)
        while self.running:
            self.look_after()
            time.sleep(self._pace.poll_seconds)

    def is_idle(self) -> bool:
        """Whether no job of these lanes is queued or running, here or anywhere."""
        under_way = (self._queue.list(state=state, limit=1000) for state in (JobState.QUEUED, JobState.RUNNING))
        return not self.running and not any(job.lane in self._lanes for jobs in under_way for job in jobs)

    def folder(self, job: int) -> Path:
        """The folder of a job: its log, its checkpoint, its result."""
        return self._registry.home / JOBS_FOLDER / str(job)

    def _start(self, lease: Lease) -> None:
        function = self._kinds.get(lease.job.kind)
        if function is None:
            known = ", ".join(sorted(self._kinds))
            error = UnknownJobKind(f"job {lease.job.id}: kind {lease.job.kind!r}, this worker knows {known}")
            self._queue.fail(lease, str(error), retry=False)
            return
        folder = self.folder(lease.job.id)
        folder.mkdir(parents=True, exist_ok=True)
        self._queue.attach_log(lease, str(folder / LOG))
        process = self._executor.start(self._assignment(lease, function, folder), folder / LOG)
        self.running.append(Running(lease, process, self._next_heartbeat()))

    def _assignment(self, lease: Lease, function: str, folder: Path) -> Assignment:
        return Assignment(
            home=str(self._registry.home),
            url=self._registry.url,
            actor=self._registry.database.actor,
            job=lease.job.id,
            token=lease.token,
            function=function,
            folder=str(folder),
            grace_seconds=self._pace.grace_seconds,
        )

    def _heartbeat(self, job: Running) -> None:
        try:
            wanted = self._queue.renew(job.lease, lease_seconds=self._pace.lease_seconds)
        except LeaseLost:
            job.process.kill()
            return
        job.heartbeat_at = self._next_heartbeat()
        if wanted != Wanted.RUN:
            self._ask_to_stop(job)

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


@contextmanager
def _sigterm_sets(event: threading.Event) -> Iterator[None]:
    """Inside, SIGTERM sets `event`; signals reach the main thread alone, so elsewhere nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: FrameType | None) -> None:
        event.set()

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

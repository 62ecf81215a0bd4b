"""A worker's painters: one resident process a device, started again when it dies."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from distill_jobs.execution.executors import LocalProcess, start_process
from distill_jobs.execution.painter import Commission
from distill_jobs.execution.rounds import go_round
from distill_jobs.execution.slots import Slots
from registry import LeaseLost, Registry
from registry.jobs import Job, JobState, Lane, Lease, Queue

PAINTER = "distill_jobs.execution.painter"
LOG = "painter.log"
LARGEST_PAGE = 1_000


@dataclass(frozen=True)
class PainterPace:
    """Seconds: of a lease, to put a picture down in, between two looks, and until a painter that died is replaced."""

    lease_seconds: float = 15.0
    grace_seconds: float = 10.0
    poll_seconds: float = 0.1
    restart_seconds: float = 1.0


@dataclass
class Place:
    """Where a painter works: its slot, and its process while it has one."""

    slot: int
    name: str
    process: LocalProcess | None = None
    start_at: float = 0.0


class Painters:
    """Keeps a painter on each of `devices`, or a single one, for the jobs of `kinds` in the interactive lane.

    Each keeps bases loaded, in `room` bytes or what is free. The job of a painter that died is free for the next one at
    once.
    """

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, str],
        *,
        name: str | None = None,
        devices: Sequence[str] = (),
        room: int | None = None,
        pace: PainterPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        worker = name or f"{socket.gethostname()}:{os.getpid()}"
        self._slots = Slots.of(None, devices)
        self.places = [Place(slot, f"{worker}/painter-{slot}") for slot in range(self._slots.count)]
        self._registry, self._queue, self._kinds = registry, Queue(registry), kinds
        self._room, self._pace, self._clock = room, pace or PainterPace(), clock

    def run(self, *, until_idle: bool = False, watch: Callable[[], object] | None = None) -> bool:
        """Paint until SIGTERM, or with `until_idle` until no interactive job is queued or running anywhere."""
        return go_round([self], poll_seconds=self._pace.poll_seconds, until_idle=until_idle, watch=watch)

    def take_up(self) -> None:
        """Start the painters that are missing."""
        for place in self.places:
            if place.process is None and self._clock() >= place.start_at:
                log = self._registry.home / LOG
                place.process = start_process(
                    PAINTER, self._commission(place).to_json(), log, self._slots.device(place.slot)
                )

    def look_after(self) -> None:
        """Take note of painters that died, and free what they were painting."""
        for place in self.places:
            ending = None if place.process is None else place.process.ending()
            if ending is not None:
                place.process, place.start_at = None, self._clock() + self._pace.restart_seconds
                for lease in self._leases(place):
                    with suppress(LeaseLost):
                        self._queue.fail(lease, f"the painter {place.name} ended ({ending})", delay_seconds=0.0)

    def is_idle(self) -> bool:
        """Whether no interactive job is queued or running, here or anywhere."""
        return not self._jobs(JobState.QUEUED) and not self._jobs(JobState.RUNNING)

    def stop(self) -> None:
        """Have every painter put its picture down and end; kill what takes too long."""
        working = [(place, place.process) for place in self.places if place.process is not None]
        for _, process in working:
            process.ask_to_stop()
        deadline = self._clock() + self._pace.grace_seconds
        for place, process in working:
            while process.ending() is None:
                if self._clock() >= deadline:
                    process.kill()
                time.sleep(self._pace.poll_seconds)
            place.process = None
            for lease in self._leases(place):
                with suppress(LeaseLost):
                    self._queue.release(lease)

    def _commission(self, place: Place) -> Commission:
        return Commission(
            home=str(self._registry.home),
            url=self._registry.url,
            actor=self._registry.database.actor,
            name=place.name,
            kinds=dict(self._kinds),
            lease_seconds=self._pace.lease_seconds,
            grace_seconds=self._pace.grace_seconds,
            room=self._room,
        )

    def _leases(self, place: Place) -> list[Lease]:
        """What the painter of a place holds."""
        return [
            Lease(job, job.lease_token, job.lease_owner, job.lease_until)
            for job in self._jobs(JobState.RUNNING)
            if job.lease_owner == place.name and job.lease_until is not None
        ]

    def _jobs(self, state: JobState) -> list[Job]:
        return [job for job in self._queue.list(state=state, limit=LARGEST_PAGE) if job.lane == Lane.INTERACTIVE]

"""When jobs will have ended, as far as that can be known."""

import heapq
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job, Queue

REMEMBERED = 20
"""How many of the newest jobs of a kind tell how long its steps take."""


def seconds_left(registry: "Registry", jobs: Iterable["Job"]) -> dict[int, float]:
    """Job -> seconds until its end, for those of `jobs` of which it is known.

    A running job says it itself. A queued one waits for those before it in its lane, as if each of the workers that
    run something there now took the next job when it is free; a step takes what it took the newest jobs of the kind
    that were done in one go. Where nothing runs, or one before it cannot be foreseen, it is not known.
    """
    from registry.jobs import Queue

    asked, queue = list(jobs), Queue(registry)
    known = {job.id: left for job in asked if job.state == "running" and (left := _reported(job)) is not None}
    queued = {job.id: job.lane for job in asked if job.state == "queued"}
    for lane in set(queued.values()):
        ends = _ends_of_line(queue, lane)
        known |= {job: ends[job] for job in queued if job in ends}
    return known


def ends_in_turn(busy: Iterable[float | None], waiting: Sequence[tuple[int, float, float | None]]) -> dict[int, float]:
    """Job -> seconds until its end, where slots are `busy` for so long (None: nobody knows).

    `waiting` are jobs in their order: the number, the seconds before which it does not begin, and those that it takes
    (None: nobody knows, and so it is with the slot that it gets).
    """
    free = [seconds for seconds in busy if seconds is not None]
    heapq.heapify(free)
    ends: dict[int, float] = {}
    for job, earliest, takes in waiting:
        if not free:
            break
        begin = max(heapq.heappop(free), earliest)
        if takes is not None:
            ends[job] = begin + takes
            heapq.heappush(free, ends[job])
    return ends


def _ends_of_line(queue: "Queue", lane: str) -> dict[int, float]:
    line = queue.line(lane)
    paces = {kind: _seconds_per_step(queue, kind) for kind in {job.kind for job in line}}
    busy = [_reported(job) for job in queue.list(state="running", lane=lane, limit=1_000)]
    now = datetime.now(UTC)
    waiting = [(job.id, (job.run_at - now).total_seconds(), _takes(job, paces[job.kind])) for job in line]
    return ends_in_turn(busy, waiting)


def _reported(job: "Job") -> float | None:
    left = job.progress.get("eta_seconds")
    return float(left) if isinstance(left, int | float) else None


def _takes(job: "Job", seconds_per_step: float | None) -> float | None:
    steps = job.progress.get("steps", job.spec.get("steps"))
    if seconds_per_step is None or not isinstance(steps, int):
        return None
    return (steps - int(job.progress.get("step", 0))) * seconds_per_step


def _seconds_per_step(queue: "Queue", kind: str) -> float | None:
    done = queue.list(state="succeeded", kind=kind, limit=REMEMBERED)
    paces = [
        (job.finished_at - job.started_at).total_seconds() / job.progress["steps"]
        for job in done
        if job.lease_token == 1 and job.progress.get("steps") and job.started_at and job.finished_at
    ]
    return median(paces) if paces else None

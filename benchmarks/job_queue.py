"""How much the queue carries: `python -m benchmarks.job_queue --postgres $BENCH_POSTGRES`.

1, 8 and 32 worker processes share one queue, on SQLite and on PostgreSQL. First they take all of a heap of jobs, as
fast as they can (claims/s), then they end them (ends/s). Then each looks for work four times a second, as `tau worker`
does, while jobs are submitted one after the other: submit to start is the time from a job's submission to its claim,
both by the database's clock. Aims: 200 claims/s on PostgreSQL, and 95 of 100 jobs started within a second.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import queues, synchronize
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from benchmarks.catalog import machine, summary
from registry import Registry
from registry.jobs import Job, Lease, Queue

WORKERS = (1, 8, 32)
CLAIMS_PER_SECOND, START_SECONDS = 200.0, 1.0
POLL_SECONDS, LEASE_SECONDS = 0.25, 600.0
PATIENCE_SECONDS = 600.0
"""How long a step may take; a worker process that died would be waited for in vain."""

KIND = "benchmark"
PRELOADED = [
    "benchmarks.catalog",
    "registry.jobs",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.dialects.postgresql.psycopg",
]

Stretch = tuple[float, float]
"""When a worker began a step, and when it ended it: seconds of the clock that all processes share."""


@dataclass(frozen=True)
class Load:
    """The heap that is claimed and ended; then how many jobs are submitted, and how many in a second."""

    heap: int
    submitted: int
    per_second: float


@dataclass(frozen=True)
class Place:
    """Where a worker finds the queue."""

    home: Path
    url: str


@dataclass(frozen=True)
class Crew:
    """What worker processes share: the start of each step, how long each took for it, and the end of the last."""

    together: synchronize.Barrier
    told: "queues.Queue[Stretch]"
    enough: synchronize.Event
    size: int

    def take_step(self, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Have all of them do their next step; the seconds from the first one's beginning to the last one's end."""
        self.together.wait(PATIENCE_SECONDS)
        meanwhile()
        stretches = [self.told.get(timeout=PATIENCE_SECONDS) for _ in range(self.size)]
        return max(ended for _, ended in stretches) - min(began for began, _ in stretches)


def main() -> None:
    """Measure both databases, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", help="postgresql+psycopg://...; without it SQLite alone is measured")
    parser.add_argument("--folder", type=Path, help="where SQLite's file goes; by default a temporary folder")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS, help="processes")
    parser.add_argument("--heap", type=int, default=1_000, help="jobs that are claimed as fast as can be")
    parser.add_argument("--submitted", type=int, default=200, help="jobs that are submitted while workers look")
    parser.add_argument("--per-second", type=float, default=20.0, help="of those")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    load = Load(options.heap, options.submitted, options.per_second)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        places = [Place(Path(folder), f"sqlite:///{Path(folder) / 'queue.db'}")]
        places += [Place(Path(folder), options.postgres)] if options.postgres else []
        rows = [measure(place, workers, load) for place in places for workers in options.workers]
    document = {"machine": machine(), "load": vars(load), "figures": rows}
    print_table(document)
    if options.out:
        options.out.write_text(json.dumps(document, indent=1) + "\n")


def measure(place: Place, workers: int, load: Load) -> dict[str, Any]:
    """One row: so many worker processes on one queue."""
    with Registry.open(place.home, place.url) as registry:
        queue, late = Queue(registry), list[Job]()
        if queue.has_work():
            raise SystemExit(f"{make_url(place.url)} has jobs to do. Name a database whose queue is empty.")
        for _ in range(load.heap):
            queue.submit(KIND, {})
        with crew(place, workers) as them:
            claiming, ending = them.take_step(), them.take_step()
            them.take_step(lambda: late.extend(submitted(queue, load, them.enough)))
        waits = [waited(queue.get(job.id)) for job in late]
    return {
        "database": make_url(place.url).get_backend_name(),
        "workers": workers,
        "claims_per_second": round(load.heap / claiming, 1),
        "ends_per_second": round(load.heap / ending, 1),
        "submit_to_start_seconds": summary(waits),
    }


@contextmanager
def crew(place: Place, workers: int) -> Iterator[Crew]:
    """Worker processes that wait for the first of their three steps."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    them = Crew(context.Barrier(workers + 1), context.Queue(), context.Event(), workers)
    processes = [context.Process(target=work, args=(place, number, them), daemon=True) for number in range(workers)]
    for process in processes:
        process.start()
    yield them
    for process in processes:
        process.join()


def work(place: Place, number: int, them: Crew) -> None:
    """A worker process: claim from the heap till it is gone, end what was claimed, then serve till it is enough."""
    name = f"worker-{number}"
    with Registry.open(place.home, place.url) as registry:
        queue, held = Queue(registry), list[Lease]()
        steps: Sequence[Callable[[], object]] = (
            lambda: held.extend(iter(lambda: queue.claim(name, lease_seconds=LEASE_SECONDS), None)),
            lambda: [queue.finish(lease, {}) for lease in held],
            lambda: serve(queue, name, random.Random(number), them.enough),
        )
        for step in steps:
            them.together.wait(PATIENCE_SECONDS)
            began = time.monotonic()
            step()
            them.told.put((began, time.monotonic()))


def serve(queue: Queue, name: str, draw: random.Random, enough: synchronize.Event) -> None:
    """Look for work four times a second, beginning at any moment of it, and end at once what is claimed."""
    time.sleep(draw.uniform(0, POLL_SECONDS))
    while not enough.wait(POLL_SECONDS):
        while lease := queue.claim(name, lease_seconds=LEASE_SECONDS):
            queue.finish(lease, {})


def submitted(queue: Queue, load: Load, enough: synchronize.Event) -> Iterator[Job]:
    """Jobs, submitted at an even pace; it is enough when all of them have ended."""
    began = time.monotonic()
    for number in range(load.submitted):
        time.sleep(max(0.0, began + number / load.per_second - time.monotonic()))
        yield queue.submit(KIND, {})
    while queue.has_work():
        time.sleep(POLL_SECONDS)
    enough.set()


def waited(job: Job) -> float:
    """Seconds from its submission to its claim. Raises ValueError for a job that never started."""
    if job.started_at is None:
        raise ValueError(f"job {job.id} never started")
    return (job.started_at - job.created_at).total_seconds()


def print_table(document: dict[str, Any]) -> None:
    """The figures as a Markdown table; bold misses its aim."""
    load = document["load"]
    told = f"{load['heap']:,} jobs claimed, then {load['submitted']} submitted at {load['per_second']:g}/s"
    print(f"{told}; {document['machine']}\n")
    print("| database | workers | claims/s | ends/s | submit to start p50 | p95 | max |")
    print("|---|---|---|---|---|---|---|")
    for row in document["figures"]:
        slow = row["database"] == "postgresql" and row["claims_per_second"] < CLAIMS_PER_SECOND
        claims = f"**{row['claims_per_second']:.0f}**" if slow else f"{row['claims_per_second']:.0f}"
        waits = row["submit_to_start_seconds"]
        p95 = f"**{waits['p95']:.2f} s**" if waits["p95"] >= START_SECONDS else f"{waits['p95']:.2f} s"
        cells = (row["database"], row["workers"], claims, f"{row['ends_per_second']:.0f}", f"{waits['p50']:.2f} s", p95)
        print(f"| {' | '.join(map(str, cells))} | {waits['max']:.2f} s |")


if __name__ == "__main__":
    main()

"""Nothing lost, nothing done twice: `python -m benchmarks.queue_soak --postgres $BENCH_POSTGRES`.

Short jobs, each of which registers a tiny version under its lease, are run by worker processes that are killed with
SIGKILL at random moments and replaced by others, on SQLite and on PostgreSQL. Afterwards every job has to have
succeeded, exactly once, and to have made exactly one version.
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from sqlalchemy import make_url

from registry import LeaseLost, Registry
from registry.jobs import Queue

KIND = "soak"
LEASE_SECONDS, PATIENCE_SECONDS, LOOK_SECONDS = 5.0, 3_600.0, 0.05
PRELOADED = ["registry.intake", "registry.jobs", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg"]


@dataclass(frozen=True)
class Findings:
    """What was found afterwards; `wrong` says what should not be, one sentence each."""

    jobs: int
    workers_killed: int
    attempts: int
    seconds: float
    wrong: tuple[str, ...]


def main() -> None:
    """Soak both databases; exits with 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", help="postgresql+psycopg://... of an empty database; without it SQLite alone")
    parser.add_argument("--jobs", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=4, help="processes at a time")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = False
    for url in (None, options.postgres) if options.postgres else (None,):
        with tempfile.TemporaryDirectory() as home, Registry.open(Path(home), url) as registry:
            found = soak(registry, options.jobs, options.workers, options.kills, options.seed)
        print(json.dumps({"database": make_url(url or "sqlite://").get_backend_name(), **asdict(found)}), flush=True)
        failed |= bool(found.wrong)
    raise SystemExit(int(failed))


def soak(registry: Registry, jobs: int, workers: int, kills: int, seed: int) -> Findings:
    """Run so many jobs by so many processes at a time, of which so many are killed before the last job is done."""
    queue, began = Queue(registry), time.monotonic()
    numbers = [queue.submit(KIND, {"number": number}, max_attempts=kills + 2).id for number in range(jobs)]
    killed = _run(queue, registry, workers, _moments(jobs, kills, random.Random(seed)), random.Random(seed + 1))
    attempts = sum(queue.get(job).attempt for job in numbers)
    return Findings(jobs, killed, attempts, time.monotonic() - began, wrong(registry, numbers))


def _moments(jobs: int, kills: int, draw: random.Random) -> list[int]:
    """How many jobs are still to be done when each worker is killed, first kill first."""
    return sorted((draw.randrange(1, jobs + 1) for _ in range(kills)), reverse=True)


def _run(queue: Queue, registry: Registry, workers: int, moments: list[int], draw: random.Random) -> int:
    """Keep that many workers going until no job is left; kill one at each moment, and say how many were killed."""
    crew = [_started(registry) for _ in range(workers)]
    killed, until = 0, time.monotonic() + PATIENCE_SECONDS
    while left := queue.count(state="queued") + queue.count(state="running"):
        while moments and left <= moments[0]:
            moments.pop(0)
            place = draw.randrange(workers)
            crew[place].kill()
            crew[place].join()
            crew[place] = _started(registry)
            killed += 1
        if time.monotonic() > until:
            raise TimeoutError(f"{left} jobs are left after {PATIENCE_SECONDS:g} s")
        time.sleep(draw.uniform(0, LOOK_SECONDS))
    for process in crew:
        process.kill()
        process.join()
    return killed


def _started(registry: Registry) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=(registry.home, registry.url), daemon=True)
    process.start()
    return process


def work(home: Path, url: str) -> None:
    """A worker: register a version for every job that can be had, until killed."""
    with Registry.open(home, url) as registry, tempfile.TemporaryDirectory() as folder:
        queue, name = Queue(registry), multiprocessing.current_process().name
        while True:
            lease = queue.claim(name, lease_seconds=LEASE_SECONDS)
            if lease is None:
                time.sleep(LOOK_SECONDS)
                continue
            number = lease.job.spec["number"]
            path = Path(folder) / f"soak-{number}.txt"
            path.write_text(f"the work of job {lease.job.id}, whoever does it")
            try:
                registry.add(path, kind="other", lease=lease, result={"number": number})
            except LeaseLost:
                continue


def wrong(registry: Registry, jobs: Sequence[int]) -> tuple[str, ...]:
    """What should not be: jobs that did not end well, ended twice or made no version; versions that none made."""
    queue, found = Queue(registry), list[str]()
    made = Counter[str]()
    for number in jobs:
        job, actions = queue.get(number), Counter(event.action for event in queue.events(number))
        if (job.state, actions["finished"]) != ("succeeded", 1):
            found.append(f"job {number} is {job.state} and was finished {actions['finished']} times")
        if ref := (job.result or {}).get("version"):
            made[ref] += 1
        else:
            found.append(f"job {number} made no version")
    found += [f"{ref} is the work of {count} jobs" for ref, count in made.items() if count != 1]
    for ref in made:
        added = [event.action for event in registry.history(ref.partition(":")[0])].count("added")
        if not ref.endswith(":1") or added != 1:
            found.append(f"{ref} was added {added} times")
    there = registry.count("kind:other")
    return (*found, *([f"there are {there} versions of {len(jobs)} jobs"] if there != len(jobs) else []))


if __name__ == "__main__":
    main()

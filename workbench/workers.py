"""Workers on this machine: run one, run one job, see whether a worker is alive, start one in the background."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from workbench.errors import InvalidSettings, WorkerDied
from workbench.job_kinds import JOB_KINDS

if TYPE_CHECKING:
    from distill_jobs import Executor, Painters, Worker
    from registry import Registry
    from registry.jobs import Job

OnJob = Callable[["Job"], None]
"""Called with a job as it is."""

BATCH, INTERACTIVE = "batch", "interactive"
LOCKS = {BATCH: "worker.lock", INTERACTIVE: "painter.lock"}
"""Every worker of a lane holds a shared lock on this file of its registry's home while it looks for jobs."""

JOB_COMMAND = ("-P", "-m", "ui.cli.main", "worker")
"""What Python runs on a node of a cluster: our own `tau worker --job ID`."""

LOG = "worker.log"
START_SECONDS = 60.0
POLL_SECONDS = 0.05
LOOK_SECONDS = 0.25
LOG_TAIL_CHARACTERS = 2_000


@dataclass(frozen=True)
class StartedWorker:
    """A worker process in the background, and the file that it writes to."""

    pid: int
    log: Path


@dataclass(frozen=True)
class Duties:
    """What a worker does: which lanes, how many jobs at a time, on which devices, with which executor.

    `executor` is "local" or the address of a Ray cluster; None is what the settings say.
    """

    lanes: tuple[str, ...] = (BATCH,)
    slots: int | None = None
    devices: tuple[str, ...] = ()
    executor: str | None = None

    def __post_init__(self) -> None:
        unknown = [lane for lane in self.lanes if lane not in LOCKS]
        if unknown or not self.lanes or len(set(self.lanes)) < len(self.lanes):
            raise InvalidSettings(f"lanes {','.join(self.lanes)!r}: expected {' or '.join(LOCKS)}, or both, each once")
        if self.slots is not None and BATCH not in self.lanes:
            raise InvalidSettings("--slots is for the batch lane; a painter takes one job at a time on each device")


def run_worker(
    registry: "Registry", duties: Duties | None = None, *, until_idle: bool = False, on_job: OnJob | None = None
) -> None:
    """Run the queue's jobs until SIGTERM or an interruption, or with `until_idle` until none is left.

    However it ends, a running job writes a checkpoint and is queued again. `on_job` is called again and again with each
    batch job of this worker as it is, and once more when it has ended. Raises InvalidSettings, Unsupported,
    UnusableSlots, ClusterUnreachable.
    """
    from distill_jobs.execution.rounds import go_round

    duties = duties or Duties()
    while True:
        worker = _worker(registry, duties) if BATCH in duties.lanes else None
        painters = _painters(registry, duties) if INTERACTIVE in duties.lanes else None
        stations = [station for station in (worker, painters) if station is not None]
        watch = None if worker is None else _watch(registry, worker, on_job)
        with ExitStack() as presence:
            for lane in duties.lanes:
                presence.enter_context(_presence(registry.home, lane))
            became_idle = go_round(stations, poll_seconds=LOOK_SECONDS, until_idle=until_idle, watch=watch)
        # whoever submitted a job while the lock was held relied on this worker
        if not became_idle or all(station.is_idle() for station in stations):
            return


def run_job(registry: "Registry", job: int) -> int:
    """Run that very job in this process; returns an exit code, and the queue has the outcome.

    Under the lease that TAU_JOB_LEASE names (token:seconds:keeper), which a worker took for it, or under its own.
    Raises NotClaimable, InvalidSettings.
    """
    from distill_jobs.execution.leased import LEASE_VARIABLE, Custody, run_leased

    given = os.environ.get(LEASE_VARIABLE)
    return run_leased(registry, JOB_KINDS, job, custody=None if given is None else Custody.from_text(given))


def executor_of(named: str | None = None) -> "Executor":
    """Where the processes of jobs run: `named`, else what TAU_EXECUTOR says. Raises Unsupported, ClusterUnreachable."""
    from distill_jobs import LocalExecutor, RayExecutor

    address = _cluster(named)
    return LocalExecutor() if address is None else RayExecutor(address, (sys.executable, *JOB_COMMAND))


def _cluster(named: str | None) -> str | None:
    """The address of the cluster that runs jobs, None for this machine. Raises Unsupported."""
    from registry.settings import Settings

    return Settings(**({} if named is None else {"executor": named})).ray_address


def _worker(registry: "Registry", duties: Duties) -> "Worker":
    from distill_jobs import Worker

    if duties.devices and _cluster(duties.executor):
        raise InvalidSettings("--devices are those of this machine; on a cluster Ray gives each job its devices")
    executor = executor_of(duties.executor)
    return Worker(registry, JOB_KINDS, executor=executor, slots=duties.slots, devices=duties.devices)


def _painters(registry: "Registry", duties: Duties) -> "Painters":
    from distill_jobs import Painters

    return Painters(registry, JOB_KINDS, devices=duties.devices)


def ensure_worker(registry: "Registry") -> StartedWorker | None:
    """Start a worker in the background that ends when no job is left; None when one is alive on this machine.

    Raises WorkerDied when it ends before it has begun.
    """
    if is_worker_alive(registry.home):
        return None
    log = registry.home / LOG
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "workbench.background"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=_environment(registry),
        )
    # it outlives this process; until then somebody has to take note of its end
    threading.Thread(target=process.wait, daemon=True).start()
    _await_start(process, registry.home, log, begin)
    return StartedWorker(process.pid, log)


def is_worker_alive(home: Path, lane: str = BATCH) -> bool:
    """Whether a worker for a lane of the registry in `home` runs on this machine.

    Always False where files have no such locks.
    """
    with (home / LOCKS[lane]).open("ab") as file:
        return not _lock(file, exclusive=True)


def _watch(registry: "Registry", worker: "Worker", on_job: OnJob | None) -> Callable[[], None] | None:
    """Tells `on_job` about the jobs that `worker` runs, and about those that it ran when it was asked last."""
    from registry.jobs import Queue

    if on_job is None:
        return None
    queue, before = Queue(registry), set[int]()

    def watch() -> None:
        nonlocal before
        now = {running.lease.job.id for running in worker.running}
        for job in sorted(before | now):
            on_job(queue.get(job))
        before = now

    return watch


@contextmanager
def _presence(home: Path, lane: str) -> Iterator[None]:
    """Inside, this process counts as a worker for the lane that is alive."""
    with (home / LOCKS[lane]).open("ab") as file:
        while not _lock(file, exclusive=False):
            time.sleep(POLL_SECONDS)
        yield


def _lock(file: IO[bytes], *, exclusive: bool) -> bool:
    """Take the lock without waiting; False when somebody else's forbids it. Closing the file gives it back."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _environment(registry: "Registry") -> dict[str, str]:
    """This process's environment and import path, and which registry it is."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
        "TAU_HOME": str(registry.home),
        "TAU_DATABASE_URL": registry.url,
        "TAU_USER": registry.database.actor,
    }


def _await_start(process: "subprocess.Popen[bytes]", home: Path, log: Path, begin: int) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and not is_worker_alive(home) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    if process.poll():
        tail = log.read_bytes()[begin:].decode("utf-8", errors="replace")[-LOG_TAIL_CHARACTERS:]
        raise WorkerDied(f"a worker ended with code {process.returncode} while it was starting; {log} says:\n{tail}")

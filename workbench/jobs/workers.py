"""Workers on this machine: run one, run one job, see whether a worker is alive, start one in the background."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from workbench.errors import InvalidSettings, WorkerDied
from workbench.jobs.kinds import JOB_KINDS

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

LOGS = {BATCH: "worker.log", INTERACTIVE: "painters.log"}
"""What the worker in the background of a lane writes to, in its registry's home."""

ATTACHED = "--attached"
"""Tells workbench.jobs.background to work until its standard input ends."""

START_SECONDS = 60.0
STOP_SECONDS = 60.0
LINGER_SECONDS = 600.0
"""How long a painter in the background waits for the next picture, the base still loaded."""

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

    `executor` is "local" or the address of a Ray cluster; None is what the settings say. `memory` is how many bytes the
    bases may take that a painter keeps; None: what is free.
    """

    lanes: tuple[str, ...] = (BATCH,)
    slots: int | None = None
    devices: tuple[str, ...] = ()
    executor: str | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        unknown = [lane for lane in self.lanes if lane not in LOCKS]
        if unknown or not self.lanes or len(set(self.lanes)) < len(self.lanes):
            raise InvalidSettings(f"lanes {','.join(self.lanes)!r}: expected {' or '.join(LOCKS)}, or both, each once")
        if self.slots is not None and BATCH not in self.lanes:
            raise InvalidSettings("--slots is for the batch lane; a painter takes one job at a time on each device")
        if self.memory is not None and INTERACTIVE not in self.lanes:
            raise InvalidSettings("--memory is for what painters keep; name their lane: --lanes interactive")


def run_worker(
    registry: "Registry",
    duties: Duties | None = None,
    *,
    until_idle: bool = False,
    linger_seconds: float = 0.0,
    on_job: OnJob | None = None,
) -> None:
    """Run the queue's jobs until SIGTERM or an interruption, or with `until_idle` until none was left for so long.

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
            became_idle = go_round(
                stations,
                poll_seconds=LOOK_SECONDS,
                until_idle=until_idle,
                linger_seconds=linger_seconds,
                watch=watch,
            )
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

    return Painters(registry, JOB_KINDS, devices=duties.devices, room=duties.memory)


def ensure_worker(registry: "Registry") -> StartedWorker | None:
    """Start a worker in the background that ends when no job is left; None when one is alive on this machine.

    Raises WorkerDied when it ends before it has begun.
    """
    return _ensure(registry, BATCH)


def ensure_painter(registry: "Registry") -> StartedWorker | None:
    """Start a painter in the background that ends when it had nothing to paint for LINGER_SECONDS; else as a worker."""
    return _ensure(registry, INTERACTIVE)


@contextmanager
def staffed(registry: "Registry", environment: Mapping[str, str] = os.environ) -> Iterator[Mapping[str, StartedWorker]]:
    """Inside, each lane that nobody on this machine works for has a worker of its own, told to stop at the end.

    Nothing is waited for at the beginning. What a worker runs at the end is put down, and queued again. Should this
    process die, its workers stop as well. Gives lane -> worker of those that were started, with this `environment`.
    """
    missing = [lane for lane in LOCKS if not is_worker_alive(registry.home, lane)]
    workers = {lane: _start(registry, lane, ATTACHED, environment=environment) for lane in missing}
    try:
        yield {lane: StartedWorker(process.pid, registry.home / LOGS[lane]) for lane, process in workers.items()}
    finally:
        _stop(list(workers.values()))


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


def _ensure(registry: "Registry", lane: str) -> StartedWorker | None:
    if is_worker_alive(registry.home, lane):
        return None
    log = registry.home / LOGS[lane]
    begin = log.stat().st_size if log.exists() else 0
    process = _start(registry, lane)
    # it outlives this process; until then somebody has to take note of its end
    threading.Thread(target=process.wait, daemon=True).start()
    _await_start(process, registry.home, lane, begin)
    return StartedWorker(process.pid, log)


def _start(
    registry: "Registry", lane: str, *arguments: str, environment: Mapping[str, str] = os.environ
) -> "subprocess.Popen[bytes]":
    """A process of workbench.jobs.background for a lane; what it says is added to the lane's log."""
    with (registry.home / LOGS[lane]).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "workbench.jobs.background", lane, *arguments],
            stdin=subprocess.PIPE if ATTACHED in arguments else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**environment, **_told(registry)},
        )


def _stop(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Have workers put down what they run, and end; kill what takes too long."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.communicate(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _told(registry: "Registry") -> dict[str, str]:
    """What a process is told in its environment: this one's import path, and which registry it is."""
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONUNBUFFERED": "1",
        "TAU_HOME": str(registry.home),
        "TAU_DATABASE_URL": registry.url,
        "TAU_USER": registry.database.actor,
    }


def _await_start(process: "subprocess.Popen[bytes]", home: Path, lane: str, begin: int) -> None:
    until = time.monotonic() + START_SECONDS
    while process.poll() is None and not is_worker_alive(home, lane) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    if process.poll():
        log = home / LOGS[lane]
        tail = log.read_bytes()[begin:].decode("utf-8", errors="replace")[-LOG_TAIL_CHARACTERS:]
        raise WorkerDied(f"a worker ended with code {process.returncode} while it was starting; {log} says:\n{tail}")

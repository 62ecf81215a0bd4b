"""Workers on this machine: run one, see whether one is alive, start one in the background."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from workbench.errors import WorkerDied
from workbench.job_kinds import JOB_KINDS

if TYPE_CHECKING:
    from distill_jobs import Worker
    from registry import Registry
    from registry.jobs import Job

OnJob = Callable[["Job"], None]
"""Called with a job as it is."""

LOCK = "worker.lock"
"""Every worker holds a shared lock on this file of its registry's home while it looks for jobs."""

LOG = "worker.log"
START_SECONDS = 60.0
POLL_SECONDS = 0.05
LOG_TAIL_CHARACTERS = 2_000


@dataclass(frozen=True)
class StartedWorker:
    """A worker process in the background, and the file that it writes to."""

    pid: int
    log: Path


def run_worker(registry: "Registry", *, until_idle: bool = False, on_job: OnJob | None = None) -> None:
    """Run the queue's jobs until SIGTERM or an interruption, or with `until_idle` until none is left.

    However it ends, a running job writes a checkpoint and is queued again. `on_job` is called again and again with each
    job of this worker as it is, and once more when it has ended.
    """
    from distill_jobs import Worker

    while True:
        worker = Worker(registry, JOB_KINDS)
        with _presence(registry.home):
            became_idle = worker.run(until_idle=until_idle, watch=_watch(registry, worker, on_job))
        # whoever submitted a job while the lock was held relied on this worker
        if not became_idle or worker.is_idle():
            return


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


def is_worker_alive(home: Path) -> bool:
    """Whether a worker of the registry in `home` runs on this machine; always False where files have no such locks."""
    with (home / LOCK).open("ab") as file:
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
def _presence(home: Path) -> Iterator[None]:
    """Inside, this process counts as a worker that is alive."""
    with (home / LOCK).open("ab") as file:
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

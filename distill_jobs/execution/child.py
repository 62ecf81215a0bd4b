"""A job's own process: `python -m distill_jobs.execution.child`, the assignment on its standard input.

It settles the job itself (finished, failed, put down), always under its lease. The worker that started it keeps
standard input open; its end means that the worker is gone, and the job is put down, after a checkpoint, for another.
"""

import os
import signal
import sys
import threading
import time
import traceback
from importlib import import_module
from pathlib import Path
from types import FrameType

from sqlalchemy.exc import OperationalError

from distill_jobs.context import JobContext, JobFunction
from distill_jobs.errors import Interrupted, UnknownJobKind
from distill_jobs.execution.executors import Assignment
from distill_jobs.reporting import ProgressReport
from registry import LeaseLost, Registry
from registry.jobs import Lease, Queue, Wanted

MACHINE_TROUBLE = (OSError, MemoryError, OperationalError)
"""What may go away by itself. Any other error would come again, so the job has failed."""
LEASE_LOST, FAILED = 3, 1


class StopRequests:
    """Why to stop, as soon as somebody says so: SIGTERM, the end of the worker, or the queue."""

    def __init__(self, grace_seconds: float) -> None:
        self.reason: str | None = None
        self._grace_seconds = grace_seconds

    def listen(self) -> None:
        """Take SIGTERM and the end of standard input as requests from now on."""
        signal.signal(signal.SIGTERM, self._on_signal)
        threading.Thread(target=self._watch_worker, daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.reason = "the worker asked"

    def _watch_worker(self) -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        self.reason = "the worker is gone"
        time.sleep(self._grace_seconds)
        os._exit(FAILED)


def main() -> int:
    """Run the assignment on standard input; the exit code is for people, the queue has the outcome."""
    assignment = Assignment.from_json(_first_line())
    stop = StopRequests(assignment.grace_seconds)
    stop.listen()
    with Registry.open(Path(assignment.home), assignment.url, actor=assignment.actor) as registry:
        queue = Queue(registry)
        lease = _lease(queue, assignment)
        print(f"attempt {lease.job.attempt} of {lease.job.max_attempts}: {lease.job.kind}", flush=True)
        try:
            return _settle(registry, queue, lease, assignment, stop)
        except LeaseLost as error:
            print(error)
            return LEASE_LOST


def _settle(registry: Registry, queue: Queue, lease: Lease, assignment: Assignment, stop: StopRequests) -> int:
    report = ProgressReport(queue, lease)

    def cancelled() -> str | None:
        return stop.reason or (None if report.wanted == Wanted.RUN else f"{report.wanted} wanted")

    context = JobContext(registry, lease, Path(assignment.folder), report, cancelled)
    try:
        result = resolve(assignment.function)(context)
    except Interrupted as interruption:
        print(interruption)
        queue.release(lease)
        return 0
    except LeaseLost:
        raise
    except Exception as error:
        traceback.print_exc()
        queue.fail(lease, f"{type(error).__name__}: {error}", retry=isinstance(error, MACHINE_TROUBLE))
        return FAILED
    queue.finish(lease, result)
    print("finished")
    return 0


def resolve(function: str) -> JobFunction:
    """The function that "module:name" names. Raises UnknownJobKind."""
    module, _, name = function.partition(":")
    try:
        found: JobFunction = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownJobKind(f'{function!r}: expected "module:function" that can be imported: {error}') from error
    return found


def _first_line() -> str:
    """The first line of standard input and not a byte more, so that the watch sees what follows."""
    line = bytearray()
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


def _lease(queue: Queue, assignment: Assignment) -> Lease:
    job = queue.get(assignment.job)
    if job.lease_token != assignment.token or job.lease_owner is None or job.lease_until is None:
        raise LeaseLost(f"job {job.id}: lease {assignment.token} is over before its process began")
    return Lease(job, job.lease_token, job.lease_owner, job.lease_until)


if __name__ == "__main__":
    sys.exit(main())

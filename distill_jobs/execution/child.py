"""A job's own process: `python -m distill_jobs.execution.child`, the assignment on its standard input.

It settles the job itself (finished, failed, put down), always under its lease. The worker that started it keeps
standard input open; its end means that the worker is gone, and the job is put down, after a checkpoint, for another.
"""

import sys
from pathlib import Path

from distill_jobs.execution.attempt import LEASE_LOST, attempt, held_lease
from distill_jobs.execution.executors import Assignment
from distill_jobs.execution.stopping import StopRequests, first_line
from registry import LeaseLost, Registry
from registry.jobs import Queue


def main() -> int:
    """Run the assignment on standard input; the exit code is for people, the queue has the outcome."""
    assignment = Assignment.from_json(first_line())
    stop = StopRequests()
    stop.listen()
    stop.listen_to_worker(assignment.grace_seconds)
    with Registry.open(Path(assignment.home), assignment.url, actor=assignment.actor) as registry:
        try:
            lease = held_lease(Queue(registry), assignment.job, assignment.token)
        except LeaseLost as error:
            print(error)
            return LEASE_LOST
        return attempt(registry, lease, assignment.function, Path(assignment.folder), lambda: stop.reason)


if __name__ == "__main__":
    sys.exit(main())

"""The demo as a job, for an empty catalog: the same story, told as progress, its distillation a job beside it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.demo.story import tell
from workbench.errors import InvalidSettings, NotADemo
from workbench.jobs.queueing import UNDER_WAY, queue_of
from workbench.jobs.workers import JOB_COMMAND

if TYPE_CHECKING:
    from distill_jobs import JobContext
    from formats import Identification
    from registry import Registry
    from registry.jobs import Job, Queue
    from workbench.demo.evaluation import Score

KIND = "demo"
POLL_SECONDS = 0.5
STOP_SECONDS = 30.0

PARTS = {"Import": 2, "Look": 8, "Distil": 55, "Compose": 2, "Measure": 26, "Done": 5}
"""Chapter, by the word that its title begins with -> how much of the whole it is; Compose comes twice."""

WHOLE = 100


def submit_demo(registry: "Registry", *, seed: int = 0) -> "Job":
    """Queue the demo in this registry. Raises NotADemo where it holds something already.

    Asked again while it is unfinished it is the same job.
    """
    queue = queue_of(registry)
    unfinished = [job for state in UNDER_WAY for job in queue.list(state=state, kind=KIND)]
    if not unfinished and registry.page(limit=1).versions:
        raise NotADemo(
            "this catalog holds models already, and the demo fills an empty one; in one of its own: tau demo"
        )
    return queue.submit(KIND, {"seed": seed}, idempotency_key=KIND)


def run_demo(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind demo; interrupted, it goes on from the parts that are finished."""
    if set(context.spec) != {"seed"}:
        raise InvalidSettings(f"the job's spec has {', '.join(sorted(context.spec))}; expected seed")
    narrator = JobNarrator(context)
    told = tell(context.registry, narrator, seed=context.spec["seed"], carry_out=narrator.carry_out)
    narrator.count(1, 1, "")
    return {"versions": list(told.versions), "report": str(told.report)}


class JobNarrator:
    """A `workbench.demo.story.Narrator` that reports a job's progress, and stops where somebody wants that."""

    def __init__(self, context: "JobContext", clock: Callable[[], float] = time.monotonic) -> None:
        self._context = context
        self._clock = clock
        self._began = clock()
        self._before = self._part = 0
        self._title = ""

    def chapter(self, title: str) -> None:
        """A new part begins."""
        self._before, self._part = self._before + self._part, PARTS.get(title.partition(":")[0], 0)
        self._title = title
        print(title, flush=True)
        self._report(0.0, title)

    def say(self, text: str) -> None:
        """One line of the log."""
        print(f"  {text}", flush=True)
        self._stop_if_wanted()

    def identified(self, name: str, found: "Identification") -> None:
        """What a file is."""
        self.say(f"{name}: {found.kind}, {found.family.value}, {found.adapter.value}, {found.layout.value}")

    def picture(self, path: Path, title: str) -> None:
        """A picture was painted."""
        self.say(f"{title}: {path}")

    def count(self, done: int, total: int, note: str) -> None:
        """How far the part at hand is."""
        self._report(done / max(total, 1), f"{self._title.partition(':')[0]}: {note}" if note else self._title)

    def table(self, scores: "Sequence[Score]") -> None:
        """The measured rows, which the report has."""
        self.say(f"{len(scores)} rows measured")

    def carry_out(self, registry: "Registry", job: "Job", follow: "Callable[[Job], None]") -> None:
        """Have the distillation run in a process of its own: this job's worker is busy with this job.

        Whatever ends it, it is asked to end before this returns.
        """
        command = [sys.executable, *JOB_COMMAND, "--job", str(job.id)]
        queue = queue_of(registry)
        while (seen := queue.get(job.id)).state in UNDER_WAY:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=_environment(registry))
            try:
                while process.poll() is None:
                    follow(queue.get(job.id))
                    self._stop_if_wanted()
                    time.sleep(POLL_SECONDS)
            finally:
                self._cancel_with_us(queue, job)
                _end(process)
            time.sleep(POLL_SECONDS)  # another worker may have it, or it is due again later
        follow(seen)

    def _cancel_with_us(self, queue: "Queue", job: "Job") -> None:
        """Whoever cancels the demo does not want its distillation either; otherwise that can go on where it was."""
        if queue.get(self._context.lease.job.id).wanted == "cancel" and queue.get(job.id).state in UNDER_WAY:
            queue.cancel(job.id)

    def _report(self, fraction: float, note: str) -> None:
        from distill_jobs import Progress

        self._stop_if_wanted()
        done = self._before + self._part * fraction
        left = (self._clock() - self._began) * (WHOLE - done) / done if done else 0.0
        self._context.report(Progress(int(done), WHOLE, None, None, left, note=note))

    def _stop_if_wanted(self) -> None:
        from distill_jobs.errors import Stopped

        if reason := self._context.cancelled():
            raise Stopped(f"the demo stopped: {reason}; retry the job to go on")


def _environment(registry: "Registry") -> dict[str, str]:
    """What the distillation's process is told: the registry, and nothing of the lease that this job works under."""
    from distill_jobs.execution.leased import LEASE_VARIABLE

    told = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TAU_HOME": str(registry.home),
        "TAU_DATABASE_URL": registry.url,
        "TAU_USER": registry.database.actor,
    }
    return {name: value for name, value in os.environ.items() if name != LEASE_VARIABLE} | told


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let a job's process put its job down."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""Grids through the queue: submit one to the painters, wait for it, and what a painter does with it."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.cell_metrics import measure_cells
from workbench.cell_painting import BATCH, paint_cells, samplings_of
from workbench.grids import GridPlan
from workbench.jobs import queue_of, wait
from workbench.painting_plans import Opener
from workbench.previewing import OpenBase
from workbench.workers import OnJob

if TYPE_CHECKING:
    from distill_jobs import JobContext
    from registry import Registry
    from registry.jobs import Job

KIND = "grid"
MEASURED = ("metrics", "clip")
"""What a spec says beside the plan."""

POLL_SECONDS = 0.1


def submit_grid(
    registry: "Registry", plan: GridPlan, *, metrics: bool = False, clip: Path | None = None, priority: int = 0
) -> "Job":
    """Queue a grid for the painters; cells that are painted by then are not painted again.

    With `metrics` each cell is measured after that (`measure_cells`), by the CLIP model in `clip` as well.
    """
    measured = {
        "metrics": metrics or clip is not None,
        "clip": None if clip is None else str(clip.expanduser().resolve()),
    }
    return queue_of(registry).submit(KIND, {**plan.to_json(), **measured}, lane="interactive", priority=priority)


def plan_of_job(job: "Job") -> GridPlan:
    """The grid that a job paints. Raises InvalidSettings for a job of another kind."""
    return GridPlan.from_json({key: value for key, value in job.spec.items() if key not in MEASURED})


def queued_grid(
    registry: "Registry",
    plan: GridPlan,
    *,
    metrics: bool = False,
    clip: Path | None = None,
    on_job: OnJob | None = None,
    timeout: float | None = None,
) -> "Job":
    """Have a painter paint the grid, and measure it, and wait for it; whoever stops waiting cancels it.

    Raises WaitTimedOut, JobUnfinished.
    """
    job = submit_grid(registry, plan, metrics=metrics, clip=clip)
    try:
        return wait(registry, job, on_job, timeout=timeout, poll_seconds=POLL_SECONDS)
    except BaseException:
        queue = queue_of(registry)
        if queue.get(job.id).state in ("queued", "running"):
            queue.cancel(job.id)
        raise


def paint_grid(context: "JobContext") -> Mapping[str, Any]:
    """Run a job of the kind grid: paint what is not painted yet, keep each cell as it is finished."""
    from arithmetic import AlgebraError
    from distill_jobs.errors import Stopped
    from registry import RegistryError
    from sampling import Cancelled, SamplingError
    from workbench.errors import WorkbenchError

    plan = plan_of_job(context.lease.job)
    opener = Opener(context.registry, samplings_of(plan.cells), BATCH, shelf=context.shelf)
    try:
        done = paint_cells(
            context.registry,
            plan.cells,
            on_step=_reporter(context),
            cancelled=context.cancelled,
            open_base=opener,
            lease=context.lease,
        )
        _measure(context, plan, opener)
    except Cancelled as error:
        raise Stopped(str(error)) from error
    except (AlgebraError, RegistryError, SamplingError, WorkbenchError):
        raise
    except Exception:  # nobody knows in which state this left the pipeline
        opener.forget()
        raise
    return {**vars(done), "painter": {"pid": os.getpid(), "loads": context.shelf.made}}


def _measure(context: "JobContext", plan: GridPlan, open_base: OpenBase) -> None:
    if not context.spec["metrics"]:
        return
    clip = context.spec["clip"]
    measure_cells(
        context.registry,
        plan.cells,
        clip=None if clip is None else Path(clip),
        on_step=_reporter(context),
        cancelled=context.cancelled,
        open_base=open_base,
        lease=context.lease,
    )


def _reporter(context: "JobContext") -> Any:
    """Reports each denoising step."""
    from distill_jobs import Progress

    began = time.monotonic()

    def report(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        context.report(Progress(done, total, None, None, left))

    return report

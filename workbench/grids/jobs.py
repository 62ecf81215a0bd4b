"""Grids through the queue: submit one to the painters, wait for it, and what a painter does with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.grids.metrics import measure_cells
from workbench.grids.painting import BATCH, paint_cells, samplings_of
from workbench.grids.planning import GridPlan
from workbench.jobs.queueing import queue_of
from workbench.jobs.workers import OnJob
from workbench.painting.painter_jobs import awaited, bases_opened, painter_of, steps_reported
from workbench.painting.previewing import OpenBase

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
    return awaited(registry, job, on_job, timeout=timeout, poll_seconds=POLL_SECONDS)


def paint_grid(context: "JobContext") -> Mapping[str, Any]:
    """Run a job of the kind grid: paint what is not painted yet, keep each cell as it is finished."""
    plan = plan_of_job(context.lease.job)
    with bases_opened(context, samplings_of(plan.cells), BATCH) as open_base:
        done = paint_cells(
            context.registry,
            plan.cells,
            on_step=steps_reported(context),
            cancelled=context.cancelled,
            open_base=open_base,
            lease=context.lease,
        )
        _measure(context, plan, open_base)
    return {**vars(done), "painter": painter_of(context)}


def _measure(context: "JobContext", plan: GridPlan, open_base: OpenBase) -> None:
    if not context.spec["metrics"]:
        return
    clip = context.spec["clip"]
    measure_cells(
        context.registry,
        plan.cells,
        clip=None if clip is None else Path(clip),
        on_step=steps_reported(context),
        cancelled=context.cancelled,
        open_base=open_base,
        lease=context.lease,
    )

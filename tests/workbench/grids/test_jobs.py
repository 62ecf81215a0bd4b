"""Grids through the queue: a painter paints what is not painted yet, and puts it down within a step."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from distill_jobs import Painter
from registry.jobs import Job, Queue
from workbench.errors import InvalidSettings, JobUnfinished
from workbench.grids.axes import Axis
from workbench.grids.jobs import plan_of_job, queued_grid, submit_grid
from workbench.grids.planning import GridPlan, painted_cells, plan_grid
from workbench.painting.jobs import submit_preview
from workbench.painting.profiles import Sampling

CIRCLE = "a large red circle on a white background"


def planned(gallery: Any, x: str, steps: int = 2) -> GridPlan:
    sampling = Sampling(solver="ddim", steps=steps, guidance=1.0, spacing="trailing", eta=0.0)
    return plan_grid(gallery.registry, "soft + fast", prompts=[CIRCLE], x=Axis.parse(x), sampling=sampling)


def painted(queue: Queue, job: Job, painter: Painter) -> Job:
    """The job when the painter has done all that there is to do."""
    while painter.take_one():
        pass
    return queue.get(job.id)


def cancelled_after(queue: Queue, job: Job, step: int) -> int:
    """Cancel the job when it has done `step`; the step that it had reached by then."""
    while queue.get(job.id).progress.get("step", 0) < step:
        time.sleep(0.005)
    queue.cancel(job.id)
    return int(queue.get(job.id).progress["step"])


def test_a_painter_paints_a_grid_and_its_extension_and_keeps_the_base(
    gallery: Any, queue: Queue, painter: Painter
) -> None:
    plan, wider = planned(gallery, "soft=0,1"), planned(gallery, "soft=0,0.5,1")
    jobs = [painted(queue, submit_grid(gallery.registry, one), painter) for one in (plan, wider)]
    assert [job.state for job in jobs] == ["succeeded"] * 2, [job.last_error for job in jobs]
    results = [job.result or {} for job in jobs]
    assert [(result["cells"], result["painted"]) for result in results] == [(2, 2), (3, 1)]
    assert [result["painter"]["loads"] for result in results] == [1, 1]
    assert jobs[0].progress == {**jobs[0].progress, "step": 4, "steps": 4}
    assert plan_of_job(jobs[1]) == wider
    assert set(painted_cells(gallery.registry, wider)) == set(wider.keys)


def test_a_grid_is_cancelled_within_a_step_and_what_was_finished_stays(
    gallery: Any, queue: Queue, painter: Painter
) -> None:
    plan = planned(gallery, "soft=0,1,2", steps=30)
    job = submit_grid(gallery.registry, plan)
    with ThreadPoolExecutor(1) as beside:
        reached = beside.submit(cancelled_after, queue, job, 32)
        seen = painted(queue, job, painter)
    assert seen.state == "cancelled"
    assert seen.progress["step"] <= reached.result() + 1
    assert set(painted_cells(gallery.registry, plan)) == {plan.cells[0].key}


def test_waiting_for_a_grid_brings_its_job_or_why_it_failed(gallery: Any, queue: Queue, painter: Painter) -> None:
    plan = planned(gallery, "soft=0,1")
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(queued_grid, gallery.registry, plan)
        while not waiting.done():
            painter.take_one() or time.sleep(0.01)
        assert (waiting.result().result or {})["painted"] == 2
        broken = GridPlan(plan.text, plan.x, plan.y, plan.panels, (changed(plan),))
        waiting = beside.submit(queued_grid, gallery.registry, broken)
        while not waiting.done():
            painter.take_one() or time.sleep(0.01)
        with pytest.raises(JobUnfinished, match="other versions"):
            waiting.result()


def test_a_grid_that_is_to_be_measured_is_measured_by_its_painter(
    gallery: Any, queue: Queue, painter: Painter, tmp_path: Path
) -> None:
    plan = plan_grid(gallery.registry, "soft", prompts=[CIRCLE], x=Axis.parse("soft=1"), solver="lcm", steps=2)
    plain = painted(queue, submit_grid(gallery.registry, plan), painter)
    assert painted_cells(gallery.registry, plan)[plan.keys[0]].metrics == {}
    measured = painted(queue, submit_grid(gallery.registry, plan, metrics=True), painter)
    assert (plain.state, measured.state) == ("succeeded", "succeeded"), measured.last_error
    assert painted_cells(gallery.registry, plan)[plan.keys[0]].metrics["sharpness"] > 0
    with_clip = painted(queue, submit_grid(gallery.registry, plan, clip=tmp_path), painter)
    assert str(tmp_path) in (with_clip.last_error or "")


def changed(plan: GridPlan) -> Any:
    return type(plan.cells[0]).from_json({**plan.cells[0].to_json(), "key": "0" * 64})


def test_a_job_of_another_kind_is_no_grid(gallery: Any) -> None:
    with pytest.raises(InvalidSettings, match="expected text, x, y"):
        plan_of_job(submit_preview(gallery.registry, "soft", [CIRCLE]))

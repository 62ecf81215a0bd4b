"""The demo as a job: how its story becomes progress. That the story itself ends well is told in test_demo.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill_jobs import JobContext, Progress
from distill_jobs.errors import Stopped
from registry import Registry
from workbench.demo.jobs import PARTS, WHOLE, JobNarrator, run_demo, submit_demo
from workbench.errors import InvalidSettings, NotADemo
from workbench.jobs.queueing import queue_of

TITLES = ("Import: a base", "Look: what", "Distil: an", "Compose: a + b", "Compose: c + d", "Measure: the", "Done")


@pytest.fixture
def narrated(registry: Registry, tmp_path: Path) -> Callable[..., tuple[JobNarrator, list[Progress]]]:
    """narrated(reason=None) -> a narrator of a demo job, and what it reports."""

    def narrate(reason: Callable[[], str | None] = lambda: None, **clock: Any) -> tuple[JobNarrator, list[Progress]]:
        submit_demo(registry)
        lease = queue_of(registry).claim("here")
        assert lease is not None
        told: list[Progress] = []
        return JobNarrator(JobContext(registry, lease, tmp_path, told.append, reason), **clock), told

    return narrate


def test_an_empty_catalog_takes_the_demo_once(registry: Registry) -> None:
    job = submit_demo(registry, seed=3)
    assert submit_demo(registry, seed=3).id == job.id
    assert dict(job.spec) == {"seed": 3}


def test_a_catalog_that_holds_something_takes_no_demo(stocked: Registry) -> None:
    with pytest.raises(NotADemo, match="tau demo"):
        submit_demo(stocked)


def test_a_demo_that_was_interrupted_can_go_on_although_the_catalog_is_no_longer_empty(
    registry: Registry, vector_file: Path
) -> None:
    job = submit_demo(registry)
    registry.add(vector_file, kind="other", name="stripes")
    assert submit_demo(registry).id == job.id


def test_the_parts_make_the_whole(narrated: Callable[..., tuple[JobNarrator, list[Progress]]]) -> None:
    narrator, told = narrated()
    for title in TITLES:
        narrator.chapter(title)
        narrator.count(1, 2, "half")
    assert [one.step for one in told] == sorted(one.step for one in told)
    narrator.count(1, 1, "")
    assert told[-1].step == sum(PARTS.values()) + PARTS["Compose"] == WHOLE
    assert {one.steps for one in told} == {WHOLE}
    assert (told[2].note, told[3].note) == ("Look: what", "Look: half")


def test_the_time_that_is_left_is_reckoned_from_what_is_done(
    narrated: Callable[..., tuple[JobNarrator, list[Progress]]],
) -> None:
    ticks = iter([0.0, 10.0, 30.0])
    narrator, told = narrated(clock=lambda: next(ticks))
    narrator.chapter("Distil: an acceleration")
    narrator.count(1, 2, "half")
    assert told[0].eta_seconds == 0.0
    done = PARTS["Distil"] / 2
    assert told[1].eta_seconds == pytest.approx(10.0 * (WHOLE - done) / done)


def test_the_story_stops_where_somebody_wants_that(
    narrated: Callable[..., tuple[JobNarrator, list[Progress]]],
) -> None:
    narrator, told = narrated(lambda: "cancel wanted")
    for tell in (lambda: narrator.chapter("Import: a"), lambda: narrator.say("a"), lambda: narrator.count(1, 2, "")):
        with pytest.raises(Stopped, match="cancel wanted"):
            tell()
    assert told == []


def test_a_spec_of_another_form_is_refused(registry: Registry, tmp_path: Path) -> None:
    queue = queue_of(registry)
    queue.submit("demo", {"seed": 0, "speed": 2})
    lease = queue.claim("here")
    assert lease is not None
    with pytest.raises(InvalidSettings, match="expected seed"):
        run_demo(JobContext(registry, lease, tmp_path, lambda progress: None, lambda: None))


def test_a_job_inside_is_carried_out_by_a_process_of_its_own_under_its_own_lease(
    narrated: Callable[..., tuple[JobNarrator, list[Progress]]], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_JOB_LEASE", "1:60:somebody")
    narrator, _ = narrated()
    inner = queue_of(registry).submit("import", {"source": "/nothing/there"})
    seen: list[str] = []
    narrator.carry_out(registry, inner, lambda job: seen.append(job.state))
    assert seen[-1] == "failed"
    assert "UnknownPath" in str(queue_of(registry).get(inner.id).last_error)


@pytest.mark.parametrize(("wish", "state"), [("cancel", "cancelled"), ("pause", "queued")])
def test_whoever_cancels_the_demo_cancels_its_distillation_and_whoever_pauses_it_does_not(
    narrated: Callable[..., tuple[JobNarrator, list[Progress]]], registry: Registry, wish: str, state: str
) -> None:
    queue = queue_of(registry)
    inner = queue.submit("import", {"source": "/nothing/there"}, lane="interactive")
    narrator, _ = narrated(lambda: f"{wish} wanted")
    (demo,) = queue.list(kind="demo")
    (queue.cancel if wish == "cancel" else queue.pause)(demo.id)
    with pytest.raises(Stopped):
        narrator.carry_out(registry, inner, lambda job: None)
    assert queue.get(inner.id).state == state

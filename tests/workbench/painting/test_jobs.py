"""Previews through the queue: real painters with a real base."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill_jobs import Painter, PainterPace, Painters
from registry.jobs import Job, Queue
from sampling import read_png
from sampling.errors import UnsupportedSetting
from workbench.errors import JobUnfinished, UnknownInRecipe, WaitTimedOut
from workbench.jobs.kinds import JOB_KINDS
from workbench.jobs.queueing import wait
from workbench.painting.jobs import queued_preview, submit_preview
from workbench.painting.previewing import preview

CIRCLE = ["a large red circle on a white background"]
PATIENCE_SECONDS = 200
PACE = PainterPace(lease_seconds=6.0, grace_seconds=60.0, poll_seconds=0.05, restart_seconds=0.1)
SLOW = {"solver": "ddim", "steps": 1000, "guidance": 1.0}
QUICK = {"solver": "lcm", "steps": 4, "guidance": 1.0}


@pytest.fixture
def painters(gallery: Any) -> Iterator[Painters]:
    """One painter, which is at work while its rounds are done."""
    painters = Painters(gallery.registry, JOB_KINDS, name="studio", pace=PACE)
    yield painters
    painters.stop()


def until(met: Callable[[], object], painters: Painters) -> None:
    """Do the rounds until `met`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        painters.look_after()
        painters.take_up()
        time.sleep(0.01)


def painted(queue: Queue, job: Job, painter: Painter) -> Job:
    """The job when the painter has done all that there is to do."""
    while painter.take_one():
        pass
    return queue.get(job.id)


def cancelled_while_painted(queue: Queue, job: Job) -> int:
    """Cancel the job while it is painted; the step that it had reached by then."""
    while not is_being_painted(queue, job):
        time.sleep(0.005)
    queue.cancel(job.id)
    return int(queue.get(job.id).progress["step"])


def is_being_painted(queue: Queue, job: Job) -> bool:
    return bool(queue.get(job.id).progress.get("step", 0) >= 2)


def test_previews_of_one_painter_load_their_base_once_and_paint_what_preview_paints(
    gallery: Any, queue: Queue, painter: Painter
) -> None:
    recipes = ("soft + 0.5*fast", "soft", "shapes")
    done = [
        painted(queue, submit_preview(gallery.registry, text, CIRCLE, seeds=(1, 2), **QUICK), painter)
        for text in recipes
    ]
    assert [job.state for job in done] == ["succeeded"] * 3, [job.last_error for job in done]
    results = [job.result or {} for job in done]
    assert len({result["painter"]["pid"] for result in results}) == 1
    assert [result["painter"]["loads"] for result in results] == [1, 1, 1]
    for text, result in zip(recipes, results, strict=True):
        here = preview(gallery.registry, text, CIRCLE, seeds=(1, 2), **QUICK, out=gallery.files / "here")
        for image, one in zip(here.images, result["pictures"], strict=True):
            assert np.array_equal(np.asarray(image), np.asarray(Image.open(one["path"])))
            assert read_png(Path(one["path"])).items() >= one["record"].items()
            assert gallery.registry.blob_path(one["sha256"]).read_bytes() == Path(one["path"]).read_bytes()
    assert done[0].progress == {**done[0].progress, "step": 4, "steps": 4}


def test_a_painting_is_cancelled_within_a_step_and_the_painter_stays_warm(
    gallery: Any, queue: Queue, painter: Painter
) -> None:
    job = submit_preview(gallery.registry, "soft", CIRCLE, **SLOW)
    with ThreadPoolExecutor(1) as beside:
        reached = beside.submit(cancelled_while_painted, queue, job)
        seen = painted(queue, job, painter)
    assert seen.state == "cancelled"
    assert 2 <= seen.progress["step"] <= reached.result() + 1
    assert "stopped after" in Path(seen.log_path or "").read_text()
    following = painted(queue, submit_preview(gallery.registry, "soft", CIRCLE, **QUICK), painter)
    assert (following.state, (following.result or {})["painter"]["loads"]) == ("succeeded", 1)
    plain = preview(gallery.registry, "soft", CIRCLE, **QUICK, out=gallery.files / "plain.png")
    assert np.array_equal(
        np.asarray(plain.images[0]), np.asarray(Image.open((following.result or {})["pictures"][0]["path"]))
    )


def test_a_job_that_fails_does_no_harm_to_the_next(gallery: Any, queue: Queue, painter: Painter) -> None:
    sound = submit_preview(gallery.registry, "soft", CIRCLE, **QUICK)
    broken = queue.submit("preview", {**sound.spec, "recipe": "nothing"}, lane="interactive")
    strange = queue.submit("preview", {**sound.spec, "colour": "red"}, lane="interactive")
    unknown = queue.submit("sculpture", {}, lane="interactive")
    last = submit_preview(gallery.registry, "fast", CIRCLE)
    states = [painted(queue, job, painter).state for job in (sound, broken, strange, unknown, last)]
    assert states == ["succeeded", "failed", "failed", "failed", "succeeded"]
    assert "expected recipe, base, prompts" in (queue.get(strange.id).last_error or "")
    assert f"a painter knows {', '.join(sorted(JOB_KINDS))}" in (queue.get(unknown.id).last_error or "")
    results = [queue.get(job.id).result or {} for job in (sound, last)]
    assert results[0]["painter"] == results[1]["painter"]


def test_the_job_of_a_killed_painter_is_painted_by_its_successor(
    gallery: Any, queue: Queue, painters: Painters
) -> None:
    job = submit_preview(gallery.registry, "soft", CIRCLE, solver="ddim", steps=200, guidance=1.0)
    until(lambda: is_being_painted(queue, job), painters)
    [place] = painters.places
    assert place.process is not None
    os.kill(killed := place.process.pid, signal.SIGKILL)
    until(lambda: queue.get(job.id).state == "succeeded", painters)
    seen = queue.get(job.id)
    assert (seen.state, seen.attempt) == ("succeeded", 2)
    assert (seen.result or {})["painter"]["pid"] != killed
    events = queue.events(job.id)
    assert [event.action for event in events] == ["submitted", "claimed", "will-retry", "claimed", "finished"]
    assert "studio/painter-0 ended (SIGKILL)" in events[2].detail["error"]


def test_painters_that_stop_put_their_picture_down_and_it_costs_no_attempt(
    gallery: Any, queue: Queue, painters: Painters
) -> None:
    job = submit_preview(gallery.registry, "soft", CIRCLE, **SLOW)
    until(lambda: is_being_painted(queue, job), painters)
    painters.stop()
    seen = queue.get(job.id)
    assert (seen.state, seen.attempt) == ("queued", 0)
    assert not painters.is_idle()
    queue.cancel(job.id)
    assert painters.is_idle()


def test_a_queued_preview_is_waited_for_and_copied_to_where_it_was_asked_for(
    gallery: Any, queue: Queue, painter: Painter
) -> None:
    resident = threading.Thread(target=painter.run)
    resident.start()
    seen: list[int] = []
    asked = {"solver": "ddim", "steps": 3, "guidance": 2.0, "eta": 0.5, "spacing": "leading", "timeout": 200}
    out = gallery.files / "deep" / "one.png"
    one = queued_preview(gallery.registry, "soft", CIRCLE, out=out, on_job=lambda job: seen.append(job.id), **asked)
    assert (one.path, one.paths, set(seen)) == (out, (out,), {one.job})
    record = read_png(out)
    assert {key: record[key] for key in ("solver", "steps", "guidance", "eta", "spacing", "seed")} == {
        "solver": "ddim",
        "steps": 3,
        "guidance": 2.0,
        "eta": 0.5,
        "spacing": "leading",
        "seed": 0,
    }
    assert one.evaluations == 6
    several = queued_preview(
        gallery.registry, "soft", CIRCLE, out=gallery.files / "many", seeds=(1, 2), timeout=200, **QUICK
    )
    assert [path.parent for path in several.paths] == [gallery.files / "many"] * 2
    assert several.path == gallery.files / "many" / "sheet.png"
    assert all(path.exists() for path in (*several.paths, several.path))
    painter.stop.reason = "the test is over"
    resident.join()


def test_a_path_in_a_recipe_means_the_same_in_the_painters_process(
    gallery: Any, queue: Queue, painter: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gallery.files)
    job = submit_preview(gallery.registry, "./soft.safetensors", CIRCLE, base="shapes", **QUICK)
    monkeypatch.chdir("/")
    assert str(gallery.files / "soft.safetensors") in job.spec["recipe"]
    assert painted(queue, job, painter).state == "succeeded"


def test_what_is_known_to_be_wrong_is_refused_before_it_is_queued(gallery: Any, queue: Queue) -> None:
    with pytest.raises(UnsupportedSetting, match="guidance must be at least 1"):
        submit_preview(gallery.registry, "soft", CIRCLE, guidance=0.5)
    with pytest.raises(UnknownInRecipe, match="nothing"):
        submit_preview(gallery.registry, "nothing", CIRCLE)
    assert queue.list() == []


def test_whoever_stops_waiting_cancels_the_picture(gallery: Any, queue: Queue) -> None:
    with pytest.raises(WaitTimedOut):
        queued_preview(gallery.registry, "soft", CIRCLE, timeout=0)
    [job] = queue.list()
    assert (job.state, job.lane, job.kind) == ("cancelled", "interactive", "preview")
    with pytest.raises(JobUnfinished, match="is cancelled"):
        wait(gallery.registry, job)


def test_a_higher_priority_is_painted_first(gallery: Any, queue: Queue) -> None:
    later, sooner = (submit_preview(gallery.registry, "soft", CIRCLE, priority=priority) for priority in (0, 5))
    lease = queue.claim("studio", ["interactive"])
    assert lease is not None
    assert (lease.job.id, later.id < sooner.id) == (sooner.id, True)

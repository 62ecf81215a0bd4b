import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from registry import Registry
from registry.jobs import Job, Lease, Queue

OpenPage = Callable[..., AppTest]
SPEC = {"name": "papercut", "steps": 100, "w": 7.5, "sample_prompts": ["a circle", "a square"]}


@pytest.fixture
def queue(registry: Registry) -> Queue:
    return Queue(registry)


@pytest.fixture
def ordered(queue: Queue) -> Job:
    """A distillation that waits."""
    return queue.submit("lcd-lora", SPEC)


@pytest.fixture
def lease(queue: Queue, ordered: Job) -> Lease:
    """The lease of a worker that runs it."""
    lease = queue.claim("studio:1")
    assert lease is not None
    return lease


def shown(app: AppTest) -> str:
    """Everything that the page says, as it is read."""
    parts = [*app.title, *app.markdown, *app.caption, *app.text, *app.error, *app.code, *app.info, *app.warning]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def labels(app: AppTest) -> set[str]:
    return {button.label for button in app.button}


def alts(app: AppTest) -> list[str]:
    """What the pictures of the page are called."""
    return [image.proto.imgs[0].alt for image in app.image]


def test_without_jobs_it_says_where_they_come_from(registry: Registry, open_page: OpenPage) -> None:
    assert "appears here once ordered" in shown(open_page("jobs.py"))


def test_a_waiting_job_is_listed_with_what_can_be_asked_of_it(ordered: Job, open_page: OpenPage) -> None:
    app = open_page("jobs.py")
    assert "papercut" in shown(app)
    assert {"Pause", "Cancel", "Start a worker"} <= labels(app)


def test_the_filters_of_the_url_choose_the_jobs(queue: Queue, ordered: Job, open_page: OpenPage) -> None:
    queue.submit("preview", {"recipe": "glow + lcm"}, lane="interactive")
    assert "papercut" not in shown(open_page("jobs.py", lane="interactive"))
    assert "glow + lcm" not in shown(open_page("jobs.py", lane="batch"))
    assert "No such job" in str(open_page("jobs.py", state="failed").subheader[0].value)


def test_choosing_a_state_writes_it_into_the_url(ordered: Job, open_page: OpenPage) -> None:
    app = open_page("jobs.py")
    app.pills(key="state").set_value("running").run()
    assert app.query_params["state"] == "running"


def test_older_jobs_are_a_page_away(queue: Queue, open_page: OpenPage) -> None:
    for number in range(21):
        queue.submit("style", {"name": f"style-{number}-"})
    app = open_page("jobs.py")
    assert "style-0-" not in shown(app)
    next(button for button in app.button if button.label == "Older").click().run()
    assert "style-0-" in shown(app)
    assert "style-20-" not in shown(app)
    next(button for button in app.button if button.label == "Newest").click().run()
    assert "style-20-" in shown(app)


@pytest.mark.parametrize(("wish", "state"), [("pause", "paused"), ("cancel", "cancelled")])
def test_what_is_asked_of_a_waiting_job_happens_at_once(
    queue: Queue, ordered: Job, open_page: OpenPage, wish: str, state: str
) -> None:
    app = open_page("jobs.py", job=str(ordered.id))
    app.button(key=f"{wish}-{ordered.id}").click().run()
    assert queue.get(ordered.id).state == state
    assert state in shown(app)


def test_a_running_job_is_told_to_stop_and_can_go_on_after_all(queue: Queue, lease: Lease, open_page: OpenPage) -> None:
    app = open_page("jobs.py", job=str(lease.job.id))
    app.button(key=f"pause-{lease.job.id}").click().run()
    assert "being paused" in shown(app)
    app.button(key=f"resume-{lease.job.id}").click().run()
    assert queue.get(lease.job.id).wanted == "run"
    app.button(key=f"cancel-{lease.job.id}").click().run()
    assert "being cancelled" in shown(app)
    assert not {"Pause", "Resume", "Cancel"} & labels(app)


def test_what_somebody_else_did_first_is_said_and_nothing_breaks(
    queue: Queue, lease: Lease, open_page: OpenPage
) -> None:
    app = open_page("jobs.py", job=str(lease.job.id))
    queue.cancel(lease.job.id)
    app.button(key=f"pause-{lease.job.id}").click().run()
    assert "cannot be paused any more" in shown(app)


def test_a_running_job_tells_its_progress_its_loss_and_the_time_left(
    queue: Queue, lease: Lease, open_page: OpenPage
) -> None:
    queue.progress(lease, {"step": 25, "steps": 100, "loss": 0.125, "eta_seconds": 150.0})
    app = open_page("jobs.py", job=str(lease.job.id))
    (bar,) = app.get("progress")
    assert (bar.proto.value, bar.proto.text.replace("\\", "")) == (25, "step 25 of 100 · 2 min 30 s left")
    assert [(metric.label, metric.value) for metric in app.metric] == [("Loss", "0.125")]


def test_each_measure_has_its_curve(queue: Queue, lease: Lease, open_page: OpenPage) -> None:
    numbers = [(1, "loss", 0.5), (2, "loss", 0.25), (2, "tcd-4/endpoint_error", 0.1), (2, "lcm-4/endpoint_error", 0.2)]
    queue.write_metrics(lease, numbers)
    app = open_page("jobs.py", job=str(lease.job.id), section="Curves")
    assert [heading.value for heading in app.subheader] == ["loss", "endpoint error"]
    assert ['"series"' in chart.proto.spec for chart in app.get("vega_lite_chart")] == [False, True]


def test_the_samples_along_a_training_are_shown_with_their_steps(
    registry: Registry, lease: Lease, open_page: OpenPage
) -> None:
    folder = registry.home / "jobs" / str(lease.job.id) / "strips"
    folder.mkdir(parents=True)
    for step in (50, 100):
        Image.new("RGB", (8, 4)).save(folder / f"{step:08d}.png")
    text = shown(open_page("jobs.py", job=str(lease.job.id), section="Samples"))
    assert text.index("after step 100") < text.index("after step 50")
    assert "a circle · a square" in text


def test_the_samples_of_a_training_on_a_marked_model_are_blurred_until_somebody_asks(
    filled: Registry, open_page: OpenPage
) -> None:
    job = Queue(filled).submit("style", {**SPEC, "name": "watercolour"})
    folder = filled.home / "jobs" / str(job.id) / "strips"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 32)).save(folder / "00000050.png")
    page = {"job": str(job.id), "section": "Samples"}
    assert alts(open_page("jobs.py", **page)) == ["Painted after step 50"]
    filled.edit("watercolour", changes={"nsfw": True})
    app = open_page("jobs.py", **page)
    assert alts(app) == ["Blurred: marked NSFW"]
    [show] = [button for button in app.button if button.label.startswith("Show pictures")]
    assert alts(show.click().run()) == ["Painted after step 50"]


def test_the_log_grows_where_it_ended(queue: Queue, lease: Lease, home: Path, open_page: OpenPage) -> None:
    log = home / "job.log"
    log.write_text("step 1\n", encoding="utf-8")
    queue.attach_log(lease, str(log))
    app = open_page("jobs.py", job=str(lease.job.id), section="Log")
    log.write_text("step 1\nstep 2 <b>\n", encoding="utf-8")
    app.run()
    assert [code.value for code in app.code] == ["step 1\nstep 2 <b>"]


def test_settings_and_events_of_a_job_can_be_read(lease: Lease, open_page: OpenPage) -> None:
    settings = open_page("jobs.py", job=str(lease.job.id), section="Settings").dataframe[0].value
    assert "7.5 (guidance scale 8.5)" in set(settings["value"])
    events = open_page("jobs.py", job=str(lease.job.id), section="Events").dataframe[0].value
    assert list(events["what"]) == ["claimed", "submitted"]


def test_a_job_that_failed_shows_why_and_the_remedy(queue: Queue, lease: Lease, open_page: OpenPage) -> None:
    queue.fail(lease, "InvalidSettings: <script>rank</script>", retry=False)
    app = open_page("jobs.py", job=str(lease.job.id))
    assert "<script>rank" in shown(app)
    assert f"tau jobs retry {lease.job.id}" in shown(app)
    assert "Try again" in labels(app)


@pytest.mark.parametrize(
    ("result", "made"),
    [
        ({"version": "papercut:2"}, "papercut:2 in"),
        ({"pictures": [{"sha256": "ab" * 32}]}, "1 picture in"),
        ({"cells": 12, "painted": 4}, "4 of 12 cells painted in"),
        ({}, "done in"),
    ],
)
def test_a_job_that_is_done_says_what_it_made_and_how_long_it_took(
    queue: Queue, lease: Lease, open_page: OpenPage, result: dict[str, Any], made: str
) -> None:
    queue.progress(lease, {"step": 100, "steps": 100})
    queue.finish(lease, result)
    app = open_page("jobs.py")
    assert f"{made} 0." in shown(app)
    assert "step 100" not in shown(app)
    assert not app.get("progress")


def test_a_job_that_ended_before_its_end_says_where(queue: Queue, lease: Lease, open_page: OpenPage) -> None:
    queue.progress(lease, {"step": 25, "steps": 100})
    queue.fail(lease, "InvalidSettings: rank", retry=False)
    for page in (open_page("jobs.py"), open_page("jobs.py", job=str(lease.job.id))):
        assert re.search(r"failed after 0\.\d s, at step 25 of 100", shown(page))
        assert not page.get("progress")


def test_of_a_cancelled_job_the_button_is_the_remedy(queue: Queue, ordered: Job, open_page: OpenPage) -> None:
    queue.cancel(ordered.id)
    for page in (open_page("jobs.py"), open_page("jobs.py", job=str(ordered.id))):
        assert "cancelled before it began" in shown(page)
        assert "tau jobs" not in shown(page)
        assert "Try again" in labels(page)


@pytest.mark.parametrize(
    ("spec", "about"),
    [
        ({"text": "0.8*glow + lcm", "x": "glow=0,1", "y": None}, "0.8*glow + lcm"),
        ({"text": "", "x": "recipe=glow,outline", "y": "steps=2,4"}, "recipe=glow,outline, steps=2,4"),
    ],
)
def test_a_grid_is_listed_with_its_recipe(queue: Queue, open_page: OpenPage, spec: dict[str, Any], about: str) -> None:
    queue.submit("grid", spec, lane="interactive")
    assert about in [text.value for text in open_page("jobs.py").text]


def test_what_came_out_of_a_job_is_shown(
    filled: Registry, picture: Callable[[int], bytes], open_page: OpenPage
) -> None:
    queue = Queue(filled)
    job = queue.submit("preview", {"recipe": "papercut"}, lane="interactive")
    lease = queue.claim("studio:1", ("interactive",))
    assert lease is not None
    painted = {"sha256": filled.put_blob(picture(3)), "record": {"prompt": "a red circle", "seed": 3}}
    row = {"name": "lcm-4", "evaluations": 4, "measures": {"endpoint_error": {"mean": 0.25}}}
    finding: dict[str, Any] = {"code": "memory", "severity": "warning", "sentence": "Tight.", "remedy": "Lower it."}
    result = {
        "version": "papercut:1",
        "pictures": [painted],
        "evaluation": {"step": 2, "rows": [row], "reference": []},
        "findings": [finding],
        "seconds": 1.5,
    }
    queue.finish(lease, result)
    app = open_page("jobs.py", job=str(job.id))
    assert "a red circle seed 3" in shown(app)
    assert "Tight." in app.warning[0].value.replace("\\", "")
    assert app.dataframe[0].value["endpoint error"][0] == 0.25
    assert list(app.dataframe[1].value["what"]) == ["seconds"]


def test_an_unknown_job_is_said_to_be_unknown(registry: Registry, open_page: OpenPage) -> None:
    assert "no job has number 99" in shown(open_page("jobs.py", job="99"))

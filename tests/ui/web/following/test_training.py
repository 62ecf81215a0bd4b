import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from registry import Registry
from registry.jobs import Job, Queue
from ui.web.following.training import FORMS
from workbench.jobs.kinds import JOB_KINDS

OpenPage = Callable[..., AppTest]

pytestmark = pytest.mark.usefixtures("staff")


@pytest.fixture
def queue(filled: Registry, monkeypatch: pytest.MonkeyPatch) -> Queue:
    """The queue of a registry whose pages may open /pictures."""
    monkeypatch.setenv("TAU_IMPORT_ROOTS", "/pictures")
    return Queue(filled)


def field(app: AppTest, label: str) -> Any:
    """The field of that label, of whatever kind."""
    fields = [*app.text_input, *app.number_input, *app.text_area, *app.selectbox, *app.checkbox]
    return next(one for one in fields if one.label == label)


def button(app: AppTest, label: str) -> Any:
    return next(one for one in app.button if one.label.replace("\\", "") == label)


def said(app: AppTest) -> str:
    parts = [*app.error, *app.warning, *app.markdown, *app.caption]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def checked(app: AppTest, **fields: object) -> AppTest:
    """The page after the form was filled in and checked."""
    for label, value in fields.items():
        field(app, label).set_value(value)
    return button(app, "Check before starting").click().run()


def base_folder(folder: Path) -> Path:
    """A U-Net of one module in the layout of a base."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    weights = {"conv_in.weight": np.zeros((8, 4, 3, 3), dtype=np.float32)}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def inspect(queue: Queue, result: dict[str, Any]) -> Job:
    """Let the only pre-flight end with that result."""
    lease = queue.claim("studio", ("interactive",))
    assert lease is not None
    found = {"kind": "style", "spec": {"name": "circles", "w": 7.5, "processes": 1, "device": "cpu"}}
    queue.finish(lease, found | {"needs_memory": None, "sentence": "about 12 MiB of memory"} | result)
    return lease.job


OTHER = "Other settings in TOML, by their names in the command line's documentation"
FILLED = {"Name of what is to come": "circles", "Pictures and captions": "/pictures"}


def test_every_kind_of_training_has_a_form_and_is_a_kind_of_job(filled: Registry, open_page: OpenPage) -> None:
    assert set(FORMS) <= set(JOB_KINDS)
    for kind in FORMS:
        app = open_page("jobs.py", new=kind)
        assert button(app, "Check before starting")


def test_the_new_training_button_leads_to_the_form(filled: Registry, open_page: OpenPage) -> None:
    app = button(open_page("jobs.py"), "New training").click().run()
    assert app.title[0].value == "New training"


def test_without_a_base_nothing_is_checked(queue: Queue, open_page: OpenPage) -> None:
    app = checked(open_page("jobs.py", new="lcd-lora"), **FILLED)
    assert "base: left empty" in said(app)
    assert queue.list() == []


def test_what_is_filled_in_is_what_the_pre_flight_is_told(
    queue: Queue, filled: Registry, tmp_path: Path, open_page: OpenPage
) -> None:
    filled.add(base_folder(tmp_path / "base"), kind="base", name="shapes")
    given = {"Steps": 20, "Pictures a step": 4, "Learning rate": 0.001, "Rank": 8, "Guidance scale to distil": 8.5}
    along = {"Paint these along the way, one prompt a line": "a circle", "Every so many steps": 5}
    machine = {"Device": "cpu", "Precision": "fp32", "Only on a machine with": "16G", "Keep the result a draft": True}
    more = {"Licence of the pictures": "mit", "Measure every so many steps": 10, OTHER: "seed = 7"}
    app = checked(open_page("jobs.py", new="lcd-lora"), **FILLED, **given, **along, **machine, **more)
    (job,) = queue.list()
    assert app.query_params["check"] == str(job.id)
    assert (job.kind, job.lane, job.spec["kind"]) == ("preflight", "interactive", "lcd-lora")
    assert job.spec["order"] == {
        "base": "shapes:1",
        "name": "circles",
        "data": "/pictures",
        "data_license": "mit",
        "steps": 20,
        "batch": 4,
        "learning_rate": 0.001,
        "rank": 8,
        "w": 7.5,
        "sample_prompts": ["a circle"],
        "sample_every": 5,
        "evaluation": {"every": 10},
        "device": "cpu",
        "dtype": "fp32",
        "needs_memory": "16G",
        "draft": True,
        "seed": 7,
    }


@pytest.mark.parametrize("outside", ["/etc", "/pictures/../etc", "/pictures/{..,a}/etc/*.tar", "~", "pictures"])
def test_pictures_outside_the_open_folders_are_not_opened(
    queue: Queue, filled: Registry, tmp_path: Path, open_page: OpenPage, outside: str
) -> None:
    filled.add(base_folder(tmp_path / "base"), kind="base", name="shapes")
    app = checked(open_page("jobs.py", new="style"), **FILLED | {"Pictures and captions": outside})
    assert "lies outside the folders that are open to imports: /pictures." in said(app)
    assert "tau train style --data" in said(app)
    assert queue.list() == []


def test_the_form_says_which_pictures_it_may_open(queue: Queue, open_page: OpenPage) -> None:
    assert "Pictures inside /pictures; data sets of the Hub." in said(open_page("jobs.py", new="style"))


def test_without_an_open_folder_the_form_takes_no_path(
    queue: Queue, filled: Registry, tmp_path: Path, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAU_IMPORT_ROOTS")
    filled.add(base_folder(tmp_path / "base"), kind="base", name="shapes")
    app = checked(open_page("jobs.py", new="style"), **FILLED)
    assert "TAU_IMPORT_ROOTS=/pictures tau ui" in said(app)
    assert "lies outside any allowed folder" in said(app)
    assert queue.list() == []


def test_a_training_is_started_once_nothing_speaks_against_it(queue: Queue, open_page: OpenPage) -> None:
    queue.submit("preflight", {"kind": "style", "order": {}}, lane="interactive")
    job = inspect(queue, {"ok": True, "findings": []})
    app = open_page("jobs.py", new="style", check=str(job.id))
    assert "12 MiB" in said(app)
    button(app, "Start training circles").click().run()
    assert [one.kind for one in queue.list(lane="batch")] == ["style"]


def test_what_would_go_wrong_is_said_and_cannot_be_started(queue: Queue, open_page: OpenPage) -> None:
    queue.submit("preflight", {"kind": "style", "order": {}}, lane="interactive")
    wrong = {"code": "memory", "severity": "error", "sentence": "Too much.", "remedy": "Lower the batch."}
    job = inspect(queue, {"ok": False, "findings": [wrong]})
    app = open_page("jobs.py", new="style", check=str(job.id))
    assert "Too much." in said(app)
    assert button(app, "Start training circles").disabled


def test_a_pre_flight_that_failed_says_why(queue: Queue, open_page: OpenPage) -> None:
    job = queue.submit("preflight", {"kind": "style", "order": {}}, lane="interactive")
    lease = queue.claim("studio", ("interactive",))
    assert lease is not None
    queue.fail(lease, "DatasetError: /pictures: nothing there", retry=False)
    assert "nothing there" in said(open_page("jobs.py", new="style", check=str(job.id)))


def test_while_the_pre_flight_runs_the_page_says_so(queue: Queue, open_page: OpenPage) -> None:
    job = queue.submit("preflight", {"kind": "style", "order": {}}, lane="interactive")
    assert "nothing is trained yet" in said(open_page("jobs.py", new="style", check=str(job.id)))

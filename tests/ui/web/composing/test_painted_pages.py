"""What the pages show of pictures that a painter has made with a real base."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from formats import architecture_of_folder
from registry import Registry
from sampling.devices import Device
from workbench.intake.importing import import_file
from workbench.jobs.queueing import queue_of

OpenPage = Callable[..., AppTest]
Work = Callable[[], None]
FOX = {"recipe": "0.8*soft:1", "prompt": "a fox", "steps": "2", "solver": "lcm", "guidance": "1"}


@pytest.fixture
def atelier(registry: Registry, pipeline_folder: Path, tmp_path: Path, staffed: None, write_vector: Any) -> Registry:
    """The base `shapes`, which can paint, and the style `soft` for it."""
    import_file(registry, pipeline_folder, name="shapes")
    modules = architecture_of_folder(pipeline_folder, "shapes").modules.items()
    shapes = {name.removeprefix("unet."): spec.shape for name, spec in modules if name.endswith("attn2.to_q")}
    import_file(registry, write_vector(tmp_path / "soft.safetensors", 1, shapes), name="soft", kind="style")
    return registry


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption).replace("\\", "")


def pictures(app: AppTest) -> list[str]:
    """What the pictures of the page are called."""
    return [image.proto.imgs[0].alt for image in app.image if image.proto.imgs[0].alt]


def test_a_picture_appears_and_is_found_again_wherever_the_same_is_asked_for(
    atelier: Registry, open_page: OpenPage, work: Work
) -> None:
    app = open_page("compose.py", **FOX)
    assert "1 picture of 64x64 on" in captions(app)
    app.button(key="paint").click().run()
    assert pictures(app) == []
    work()
    app.run()
    assert pictures(app) == ["a fox"]
    assert "LCM, 2 steps, guidance 1, 2 evaluations" in captions(app)
    app.slider(key="strength-0").set_value(0.5).run()
    assert pictures(app) == ["The picture before"]
    work()
    app.slider(key="strength-0").set_value(0.8).run()
    assert pictures(app) == ["a fox"]
    assert "painted 20" in captions(app)
    assert len(queue_of(atelier).list(kind="preview")) == 2
    assert pictures(open_page("compose.py", **FOX)) == ["a fox"]
    atelier.edit("soft", changes={"nsfw": True})
    veiled = open_page("compose.py", **FOX)
    assert pictures(veiled) == ["Blurred: marked NSFW"]
    [show] = [button for button in veiled.button if button.label.startswith("Show pictures")]
    assert pictures(show.click().run()) == ["a fox"]


def test_a_picture_to_begin_with_and_a_size_are_painted_and_stand_in_the_url(
    atelier: Registry, open_page: OpenPage, work: Work
) -> None:
    buffer = BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG")
    app = open_page("compose.py", **{**FOX, "guidance": "2"}, width="64", negative="fog")
    app.get("file_uploader")[0].set_value(("noise.png", buffer.getvalue(), "image/png")).run()
    assert not app.exception
    digest = app.query_params["init"]
    app.slider(key="compose-init_strength").set_value(0.5).run()
    [*_, job] = sorted(queue_of(atelier).list(kind="preview"), key=lambda job: job.id)
    asked = {name: job.spec[name] for name in ("init", "init_strength", "width", "negative")}
    assert asked == {"init": digest, "init_strength": 0.5, "width": 64, "negative": "fog"}
    work()
    assert queue_of(atelier).get(job.id).state == "succeeded"
    [back] = [button for button in app.run().button if button.label == "Begin with noise again"]
    back.click().run()
    assert "init" not in app.query_params


def test_a_beginning_that_is_not_kept_is_refused_on_the_page(atelier: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", **FOX, init="ab" * 32)
    assert any("abab" in error.value for error in app.error)
    assert "init" not in str(open_page("compose.py", **FOX, init="/etc/passwd").slider)


GRID = {
    "recipe": "0.8*soft:1",
    "prompt": "a fox",
    "steps": "2",
    "solver": "lcm",
    "guidance": "1.0",
    "x": "soft:1=0.5,1",
}


def button(app: AppTest, beginning: str) -> Any:
    return next(one for one in app.button if one.label.startswith(beginning))


def test_a_grid_says_before_it_is_painted_where_that_is_done_what_it_takes_and_how_long(
    atelier: Registry, open_page: OpenPage, work: Work
) -> None:
    app = open_page("grid.py", **GRID)
    assert "2 pictures of 64x64 on cpu" in captions(app)
    assert "nothing like it was painted here yet" in captions(app)
    button(app, "Paint 2 cells").click().run()
    work()
    app = open_page("grid.py", **{**GRID, "x": "soft:1=0.5,0.75,1"})
    assert "1 picture of 64x64 on cpu" in captions(app)
    assert "free, about" in captions(app)
    assert "64x64" not in captions(open_page("grid.py", **GRID))


def test_a_grid_that_does_not_fit_is_refused_with_what_would_and_its_pictures_stay(
    atelier: Registry, open_page: OpenPage, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    button(open_page("grid.py", **GRID), "Paint 2 cells").click().run()
    work()
    monkeypatch.setattr("sampling.devices._cpu", lambda: Device("cpu", "CPU", 1 << 20, 64 << 30))
    app = open_page("grid.py", **{**GRID, "x": "soft:1=0.5,0.75,1"})
    assert any("--device" in error.value.replace("\\", "") for error in app.error)
    assert "2 of 3 pictures" in captions(app)
    assert len(pictures(app)) == 3


def test_what_is_kept_is_compared_and_what_is_missing_alone_is_painted(
    atelier: Registry, open_page: OpenPage, work: Work
) -> None:
    first, second = both = ["0.8*soft:1", "0.5*soft:1"]
    usual = {"recipe": both, "prompt": "a fox"}
    open_page("compose.py", recipe=first, prompt="a fox").button(key="paint").click().run()
    work()
    app = open_page("compare.py", **usual)
    assert pictures(app) == ["a fox"]
    assert "painted 20" in captions(app)
    app.button(key="paint-all").click().run()
    assert sorted(job.spec["recipe"] for job in queue_of(atelier).list()) == [second, first]
    work()
    app.run()
    assert pictures(app) == ["a fox", "a fox"]
    app.button(key="paint-all").click().run()
    open_page("compare.py", **usual).button(key="paint-all").click().run()
    assert len(queue_of(atelier).list()) == 2
    atelier.edit("soft", changes={"nsfw": True})
    assert pictures(open_page("compare.py", **usual)) == ["Blurred: marked NSFW"] * 2


def test_the_pictures_of_a_job_are_blurred_until_somebody_asks_where_a_model_is_marked(
    atelier: Registry, open_page: OpenPage, work: Work
) -> None:
    open_page("compose.py", **FOX).button(key="paint").click().run()
    work()
    (job,) = queue_of(atelier).list()
    assert pictures(open_page("jobs.py", job=str(job.id))) == ["What the job painted"]
    atelier.edit("soft", changes={"nsfw": True})
    app = open_page("jobs.py", job=str(job.id))
    assert pictures(app) == ["Blurred: marked NSFW"]
    assert pictures(button(app, "Show pictures").click().run()) == ["What the job painted"]

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
from workbench.importing import import_file
from workbench.jobs import queue_of

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

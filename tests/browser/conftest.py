"""The workbench as people meet it: a filled registry, the real `tau ui` on it, and a headless Chromium in front.

Playwright's event loop would be in the way of other tests that start one, so the browser closes with each file.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from demo import style_files, write_dataset
from registry import Registry
from scripts.browsing import PAGE_MS, Visitor, launched, served
from workbench.demo.story import BASE, import_world
from workbench.intake.importing import import_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from formats import Identification
    from workbench.demo.evaluation import Score

FAST = "fast-shapes"
FAINTLY = 0.05


class Silence:
    """Tells nobody."""

    def chapter(self, title: str) -> None: ...
    def say(self, text: str) -> None: ...
    def identified(self, name: str, found: "Identification") -> None: ...
    def picture(self, path: Path, title: str) -> None: ...
    def count(self, done: int, total: int, note: str) -> None: ...
    def table(self, scores: "Sequence[Score]") -> None: ...


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's home with the shapes base, its three styles, an acceleration vector, and pictures to train on.

    The vector is a style's file at a twentieth, so that nothing has to be distilled; it asks for LCM's settings.
    """
    home = tmp_path_factory.mktemp("workbench")
    file = home / "files" / f"{FAST}.safetensors"
    file.parent.mkdir()
    with safe_open(style_files()["glow"], "pt") as glow:
        scales = {key: FAINTLY if ".lora_B." in key else 1.0 for key in glow.keys()}  # noqa: SIM118 - it is no mapping
        save_file({key: glow.get_tensor(key) * scale for key, scale in scales.items()}, file, glow.metadata())
    with Registry.open(home, actor="ana") as registry:
        import_world(registry, Silence())
        made = import_file(registry, file, name=FAST, title="Fast shapes", kind="acceleration", base=BASE)
        registry.edit(made.ref, changes={"sampling": {"solver": "lcm", "steps": [2, 4, 8]}})
    write_dataset(home / "pictures", "flat", count=16, seed=0)
    return home


@pytest.fixture(scope="session")
def address(chromium: str, home: Path) -> Iterator[str]:
    """Where `tau ui` serves that registry; its pictures are open to the pages."""
    with served(home, {"TAU_IMPORT_ROOTS": str(home / "pictures")}) as address:
        yield address


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator["Browser"]:
    """A headless Chromium."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PAGE_MS)
    with launched() as browser:
        yield browser


@pytest.fixture
def arrive(browser: "Browser", address: str) -> Iterator[Callable[..., Visitor]]:
    """arrive(**window) -> a person's own window; a page that had trouble is a failed test."""
    arrived: list[Visitor] = []
    with ExitStack() as windows:

        def arrive(**window: Any) -> Visitor:
            arrived.append(windows.enter_context(Visitor.arriving(browser, address, **window)))
            return arrived[-1]

        yield arrive
        troubles = [trouble for visitor in arrived for trouble in visitor.troubles]
    assert troubles == []

"""Writes docs/pages/*.png: each page of the workbench, dark and light, on a laptop and on a phone.

`python -m scripts.screenshots --home FOLDER` shows the registry in FOLDER (default: the demo's, which `tau demo`
fills). The pictures have few colours, so that all of them together stay small.
"""

import argparse
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image

from scripts.browsing import ROOT, Visitor, launched, served
from workbench.opening import demo_home

FOLDER = ROOT / "docs" / "pages"
WINDOWS = {"laptop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}
TALLEST = {"laptop": 1280, "phone": 1690}
"""A window grows with its page up to so many pixels for its picture."""

TO_THE_TOP = """() => document.querySelector('[data-testid="stMain"]').scrollTo(0, 0)"""
HEIGHT = """() => {
    const [main] = document.querySelectorAll('[data-testid="stMain"]')
    return main.scrollHeight - main.clientHeight + window.innerHeight
}"""
SCHEMES = ("light", "dark")
COLOURS = 256
RECIPE = "1.1*glow + 0.85*lcm-shapes"
OTHER = "1.3*stripes + 0.85*lcm-shapes"
PROMPT = "a large red circle on a white background"
PAINTED = f"{PROMPT}|Painted with"
"""What the pictures of the pages are called."""


def paint(visitor: Visitor, pictures: int = 1) -> None:
    """Have the page paint what it shows, and wait for all of its pictures."""
    button = visitor.page.get_by_role("button", name=re.compile("^Paint|^All cells"))
    if button.first.is_enabled():
        button.first.click()
    visitor.page.get_by_role("img", name=re.compile(PAINTED)).nth(pictures - 1).wait_for()
    visitor.page.get_by_role("progressbar").first.wait_for(state="detached")
    visitor.settle()


def look(visitor: Visitor) -> None:
    """Nothing more than what the page shows."""


@dataclass(frozen=True)
class Shot:
    """One page as it is shown: its name in docs/pages, its address, and what is done there first."""

    name: str
    page: str
    parameters: Mapping[str, str | list[str]] = field(default_factory=dict)
    act: Callable[[Visitor], None] = look


SHOTS = (
    Shot("catalog", ""),
    Shot("model", "model", {"ref": "glow-fast:1"}),
    Shot("lineage", "model", {"ref": "glow-fast:1", "section": "Lineage"}),
    Shot("compose", "compose", {"recipe": RECIPE, "prompt": PROMPT}, paint),
    Shot("grid", "grid", {"recipe": RECIPE, "x": "glow=0:1.4:5", "y": "lcm-shapes=0.4:1:4", "prompt": PROMPT}, paint),
    Shot("compare", "compare", {"recipe": [RECIPE, OTHER], "prompt": PROMPT}, partial(paint, pictures=2)),
    Shot("jobs", "jobs"),
    Shot("job", "jobs", {"job": "1", "section": "Curves"}),
    Shot("training", "jobs", {"new": "lcd-lora"}),
    Shot("admin", "admin"),
    Shot("report", "report"),
)


def main() -> None:
    """Take every picture, or those whose names are given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="of the registry that is shown")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for the pictures")
    parser.add_argument("names", nargs="*", help="of the pages; default: all")
    options = parser.parse_args()
    wanted = [shot for shot in SHOTS if not options.names or shot.name in options.names]
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in taken(options.home or demo_home(), wanted, options.folder):
        print(f"{path} {path.stat().st_size:,} bytes", flush=True)


def taken(home: Path, shots: list[Shot], folder: Path) -> Iterator[Path]:
    """The pictures' files, each as it is written. Raises SystemExit when a page had trouble."""
    with served(home, {"TAU_USER": "ana"}) as address, launched() as browser:
        for window, size in WINDOWS.items():
            for scheme in SCHEMES:
                with Visitor.arriving(browser, address, viewport=size, color_scheme=scheme) as visitor:
                    for shot in shots:
                        visitor.page.set_viewport_size(size)
                        visitor.open(shot.page, **shot.parameters)
                        shot.act(visitor)
                        _grow(visitor, TALLEST[window])
                        yield _take(visitor, folder / f"{shot.name}-{window}-{scheme}.png")
                    if visitor.troubles:
                        raise SystemExit("\n".join(visitor.troubles))


def _grow(visitor: Visitor, tallest: int) -> None:
    """Make the window as high as its page, and take the pointer off whatever it is on."""
    window = visitor.page.viewport_size or {"width": 0, "height": 0}
    height = max(window["height"], min(visitor.page.evaluate(HEIGHT), tallest))
    visitor.page.set_viewport_size({"width": window["width"], "height": height})
    visitor.page.mouse.move(0, 0)
    visitor.page.evaluate(TO_THE_TOP)
    visitor.page.get_by_role("tooltip").first.wait_for(state="hidden")
    visitor.settle()


def _take(visitor: Visitor, path: Path) -> Path:
    """What the window shows, when its pictures have come."""
    visitor.page.wait_for_function("() => [...document.images].every(image => image.complete)")
    with Image.open(io.BytesIO(visitor.page.screenshot())) as shown:
        few = shown.convert("RGB").quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    return path


if __name__ == "__main__":
    main()

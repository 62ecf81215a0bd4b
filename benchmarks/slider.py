"""From letting go of a slider to seeing the picture, through a browser: `python -m benchmarks.slider`.

`tau ui` on the shapes base with its own painter, and headless Chromium on the same machine, which shows the sum of two
rank-64 vectors on the Compose page. A key moves a strength by one notch, as letting go of the handle does; the clock
stops when the new picture is in the page and decoded. Everything is warm. Each notch is a strength that was never
painted.

Beside it diffusers, as a script that is started again: from_pretrained, load_lora_weights twice, set_adapters, the same
picture; its imports are not counted.
"""

import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic_inputs import command_line, note, rounded, table_lines
from benchmarks.catalog import summary
from benchmarks.preview import FRESH, afresh
from benchmarks.studios import PROMPT, opened
from scripts.browsing import Visitor, launched, served

SLIDER = "slider to picture"
LIMIT_S = 1.0
WARMING, FRESH_RUNS = 3, 5
START = -0.9
"""The strength that the slider leaves from: from there on it has room for 58 notches."""

PICTURE = """alt => [...document.images].find(image => image.alt === alt && image.complete)?.src"""
ANOTHER = f"""([alt, before]) => {{ const src = ({PICTURE})(alt); return src && src !== before }}"""


def main() -> None:
    """Move the slider again and again."""
    parser = command_line(__doc__, runs=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        with opened(Path(name), "shapes") as studio:
            home, recipe = studio.registry.home, studio.recipe(START)
            fresh = afresh(studio, min(options.runs, FRESH_RUNS))
        figures = {SLIDER: measure(home, recipe, options.runs), FRESH: fresh}
    libraries = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    note(options, {"libraries": libraries, "figures": rounded(figures)}, print_table)


def measure(home: Path, recipe: str, runs: int) -> list[float]:
    """Seconds of each notch, those that warm the painter left out."""
    with served(home) as address, launched() as browser, Visitor.arriving(browser, address) as visitor:
        visitor.open("compose", recipe=recipe, prompt=PROMPT)
        visitor.page.get_by_role("button", name="Paint", exact=False).first.click()
        visitor.page.wait_for_function(PICTURE, arg=PROMPT)
        seconds = [_notch(visitor) for _ in range(WARMING + runs)][WARMING:]
        if visitor.troubles:
            raise SystemExit("\n".join(visitor.troubles))
    return seconds


def _notch(visitor: Visitor) -> float:
    """Seconds from one key until another picture is there."""
    page = visitor.page
    visitor.settle()
    before = page.evaluate(PICTURE, PROMPT)
    handle = page.locator(".st-key-strength-0").get_by_role("slider")
    handle.focus()
    began = time.perf_counter()
    handle.press("ArrowRight")
    page.wait_for_function(ANOTHER, arg=[PROMPT, before])
    return time.perf_counter() - began


def print_table(document: Mapping[str, Any]) -> None:
    """Median and 95th percentile as a Markdown table."""
    libraries, seconds = document["libraries"], document["figures"][SLIDER]
    print(f"{document['machine']}, torch {libraries['torch']}\n")
    p95, middle = summary(seconds)["p95"], statistics.median(seconds)
    fresh = statistics.median(document["figures"][FRESH])
    shown = f"{middle:.2f} s, p95 {p95:.2f} s, at most {max(seconds):.2f} s"
    rows = [(SLIDER, shown, f"{LIMIT_S:g} s", p95 <= LIMIT_S)]
    print(table_lines([*rows, (FRESH, f"{fresh:.2f} s, {fresh / middle:.1f} x", "", None)]))


if __name__ == "__main__":
    main()

"""The catalog page over many vectors, through a browser: `python -m benchmarks.catalog_page --versions 50000`.

A made-up catalog in SQLite, `tau ui` in front of it, and headless Chromium on the same machine. The newest versions
have pictures of their own. A page counts as there when Streamlit has run its script, shows no placeholder any more and,
where something was asked for, shows something else than before. Typing is counted from the Enter key; opening is a new
tab that already has the scripts of the page in its cache.
"""

import argparse
import io
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.arithmetic_inputs import note, table_lines
from benchmarks.catalog import summary
from benchmarks.catalog_rows import Catalog, Vocabulary, load
from registry import Registry
from scripts.browsing import SETTLED, Visitor, launched, served

LIMIT_MS = 1000.0
PICTURED = 200
"""So many of the newest versions have a picture."""

COMMON = 200
"""Words that are searched for are among so many of the most frequent, which find the most."""

FILTERS = ({"kind": "style"}, {"family": "sdxl"}, {"kind": "style", "family": "sd15"}, {"kind": "composition"})
BEFORE = "() => { window.before = document.querySelector('[data-testid=\"stMain\"]').innerText }"
CHANGED = f"""() => ({SETTLED})() && document.querySelector('[data-testid="stMain"]').innerText !== window.before"""

Question = Callable[[Visitor], None]


def main() -> None:
    """Fill the catalog, ask every question in turns, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=40, help="of each question")
    parser.add_argument("--folder", type=Path, help="where files are written; default: the folder of temporary files")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        fill(Path(name), options.versions)
        figures = measure(Path(name), options.runs)
    note(options, {"versions": options.versions, "runs": options.runs, "figures": figures}, print_table)


def fill(home: Path, versions: int) -> None:
    """Make the catalog, and pictures for its newest versions."""
    with Registry.open(home) as registry:
        load(registry.database.engine, Catalog(versions, seed=0))
        cursor = None
        for number in range(0, PICTURED, 50):
            page = registry.page("", limit=50, after=cursor)
            cursor = page.cursor
            for place, version in enumerate(page.versions):
                registry.add_preview(version.ref, {"prompt": "", "seed": number + place}, _picture(number + place), {})
            if cursor is None:
                return


def measure(home: Path, runs: int) -> dict[str, dict[str, float]]:
    """Question -> milliseconds, the questions asked in turns; those of a first visit are left out."""
    questions = dict(_questions())
    times: dict[str, list[float]] = {name: [] for name in questions}
    with served(home) as address, launched() as browser, Visitor.arriving(browser, address) as visitor:
        visitor.open()
        for _ in range(runs):
            for name, question in questions.items():
                began = time.perf_counter()
                question(visitor)
                times[name].append((time.perf_counter() - began) * 1000)
        if visitor.troubles:
            raise SystemExit("\n".join(visitor.troubles))
    return {name: summary(own) for name, own in times.items()}


def _questions() -> Iterator[tuple[str, Question]]:
    """What is asked for, by name; each is asked for something else each time."""
    words = random.Random(0).sample(Vocabulary(seed=0).words[:COMMON], COMMON)
    searched, typed, filtered = (itertools.cycle(each) for each in (words, words[::-1], FILTERS))
    yield "open the catalog", lambda visitor: visitor.open()
    yield "type a search", lambda visitor: _type(visitor, next(typed))
    yield "open a search's address", lambda visitor: visitor.open(q=next(searched))
    yield "open a filter's address", lambda visitor: visitor.open(**next(filtered))
    yield "next page", lambda visitor: _ask(visitor, visitor.page.get_by_role("button", name="Next page").click)


def _type(visitor: Visitor, word: str) -> None:
    box = visitor.page.get_by_label("Search").first
    box.fill(word)
    _ask(visitor, lambda: box.press("Enter"))


def _ask(visitor: Visitor, act: Callable[[], object]) -> None:
    """Do something that changes what the page shows, and wait for that."""
    visitor.page.evaluate(BEFORE)
    act()
    visitor.page.wait_for_function(CHANGED)


def _picture(seed: int) -> bytes:
    """A PNG of 256 pixels a side: smooth noise, which packs about as well as what is painted."""
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(noise).resize((256, 256), Image.Resampling.BICUBIC).save(written, format="PNG")
    return written.getvalue()


def print_table(document: Mapping[str, Any]) -> None:
    """Milliseconds as a Markdown table; bold is beyond the limit."""
    print(f"{document['versions']:,} versions, {document['runs']} times each, {document['machine']}\n")
    rows = [
        (
            name,
            f"{time['p50']:,.0f} ms, p95 {time['p95']:,.0f} ms, at most {time['max']:,.0f} ms",
            f"p95 {LIMIT_MS:,.0f} ms",
            time["p95"] <= LIMIT_MS,
        )
        for name, time in document["figures"].items()
    ]
    print(table_lines(rows))


if __name__ == "__main__":
    main()

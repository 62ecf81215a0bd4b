"""Writes docs/benchmarks.md out of the figures in docs/benchmarks: `python -m benchmarks.page`."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import (
    arithmetic_accuracy,
    arithmetic_bake,
    arithmetic_checks,
    arithmetic_composition,
    arithmetic_recompression,
    catalog,
    catalog_page,
    distillation,
    few_steps,
    grid,
    identification,
    intake,
    job_queue,
    mlflow_registry,
    preview,
    slider,
)

FIGURES = Path("docs/benchmarks")
PAGE = Path("docs/benchmarks.md")
INTRODUCTION = """# Benchmarks

`make bench` runs what stands here and writes this page from the figures in [benchmarks](benchmarks). Bold misses its
aim.
The machine is shared with others: times are medians or percentiles of many runs, and where the time on a processor
stands beside the time on the clock, the first is what can be compared with another machine's.
How well the pictures are is in [shapes-base.md](shapes-base.md) and [reproduction.md](reproduction.md).
What 20,000 mutated headers do is no figure but a test: tests/formats/test_mutated_headers.py.
"""


@dataclass(frozen=True)
class Section:
    """One benchmark: its module says what is measured, `runs` are the names of its figures and their commands.

    A text of the same name beside the figures says why an aim is missed, where one is.
    """

    title: str
    module: ModuleType
    runs: dict[str, str]

    def lines(self) -> Iterator[str]:
        """The section, as far as it was measured."""
        yield f"## {self.title}\n"
        yield (self.module.__doc__ or "").strip() + "\n"
        for name, command in self.runs.items():
            figures = FIGURES / f"{name}.json"
            if not figures.exists():
                yield f"`{command}`: not measured yet.\n"
                continue
            yield f"`{command}`:\n"
            yield printed(self.module.print_table, json.loads(figures.read_text()))
            remarks = FIGURES / f"{name}.md"
            if remarks.exists():
                yield remarks.read_text().replace("](../", "](")  # its links, as seen from the page


ON_SQLITE = "python -m benchmarks.catalog --database sqlite:///build/bench/catalog.db"
ON_POSTGRESQL = "python -m benchmarks.catalog --database $BENCH_POSTGRES"
WITH_RIVALS = "--folder build/bench --rivals-python .venv-rivals/bin/python"
DISTILLATION = f"python -m benchmarks.distillation --rival $RIVAL {WITH_RIVALS}"
SECTIONS = (
    Section("A million versions", catalog, {"catalog-sqlite": ON_SQLITE, "catalog-postgresql": ON_POSTGRESQL}),
    Section(
        "Beside MLflow's registry",
        mlflow_registry,
        {"mlflow": "python -m benchmarks.mlflow_registry --mlflow-python .venv-mlflow/bin/python"},
    ),
    Section("The queue", job_queue, {"queue": "python -m benchmarks.job_queue --postgres $BENCH_POSTGRES"}),
    Section("Taking in", intake, {"intake": "python -m benchmarks.intake --folder build/bench"}),
    Section("Identification", identification, {"identification": "python -m benchmarks.identification"}),
    Section(
        "Exactness of sums",
        arithmetic_accuracy,
        {"arithmetic-accuracy": f"python -m benchmarks.arithmetic_accuracy {WITH_RIVALS}"},
    ),
    Section(
        "Recompression",
        arithmetic_recompression,
        {"arithmetic-recompression": f"python -m benchmarks.arithmetic_recompression {WITH_RIVALS}"},
    ),
    Section(
        "Exact sums, file to file",
        arithmetic_composition,
        {"arithmetic-composition": "python -m benchmarks.arithmetic_composition --folder build/bench"},
    ),
    Section(
        "Baking",
        arithmetic_bake,
        {"arithmetic-bake": f"python -m benchmarks.arithmetic_bake {WITH_RIVALS}"},
    ),
    Section(
        "Before a sum",
        arithmetic_checks,
        {"arithmetic-checks": "python -m benchmarks.arithmetic_checks --folder build/bench"},
    ),
    Section("Seeing a strength", preview, {"preview": "python -m benchmarks.preview --large-runs 2"}),
    Section("Moving a slider", slider, {"slider": "python -m benchmarks.slider"}),
    Section("A grid", grid, {"grid": "python -m benchmarks.grid --runs 3"}),
    Section("The catalog's page", catalog_page, {"catalog-page": "python -m benchmarks.catalog_page --versions 50000"}),
    Section("What a few steps paint", few_steps, {"few-steps": "python -m benchmarks.few_steps"}),
    Section(
        "Distilling",
        distillation,
        {"distillation": DISTILLATION, "distillation-cuda": f"{DISTILLATION} --device cuda"},
    ),
)


def main() -> None:
    """Write the page."""
    sections = ("\n".join(section.lines()) for section in SECTIONS)
    PAGE.write_text("\n".join([INTRODUCTION, *sections]))


def printed(table: Callable[[dict[str, Any]], None], document: dict[str, Any]) -> str:
    """What a table prints."""
    with contextlib.redirect_stdout(io.StringIO()) as text:
        table(document)
    return text.getvalue()


if __name__ == "__main__":
    main()

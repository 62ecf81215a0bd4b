"""A grid of five strengths by five: `python -m benchmarks.grid`.

Ours is the job of a grid as a painter does it, each picture kept and registered as it is finished: by a painter that
has just begun, by one that has the base loaded, and again with a sixth column, of which five cells are new. Beside it
two loops over a plain diffusers pipeline, in a process of their own, without their imports: one that loads pipeline and
files for every cell, as a script that is started again and again does, and one that loads them once and calls
`set_adapters`. They keep no picture. Each turn has its own strengths, so that nothing was painted before.
"""

import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.arithmetic_inputs import command_line, note, rounded, table_lines
from benchmarks.preview import diffusers
from benchmarks.studios import FAST, PROMPT, STEPS, STYLE, Studio, opened
from distill_jobs import Painter
from workbench.grids.axes import Axis
from workbench.grids.jobs import submit_grid
from workbench.grids.planning import plan_grid
from workbench.painting.profiles import Sampling

SIDE = 5
COLD, WARM, COLUMN = "a grid, painter just begun", "a grid, warm painter", "its sixth column"
ONCE, AFRESH = "diffusers, loaded once", "diffusers, loaded for every cell"

Times = dict[str, list[float]]


def main() -> None:
    """Paint the grids on the shapes base, ours and diffusers' in turns."""
    parser = command_line(__doc__, runs=5)
    options = parser.parse_args()
    side = 2 if options.tiny else SIDE
    with tempfile.TemporaryDirectory(dir=options.folder) as name, opened(Path(name), "shapes") as studio:
        times = measure(studio, side, options.runs)
    libraries = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    note(options, {"side": side, "libraries": libraries, "figures": rounded(times)}, print_table)


def measure(studio: Studio, side: int, runs: int) -> Times:
    """Name -> seconds of its runs."""
    times: Times = {name: [] for name in (COLD, WARM, COLUMN, ONCE, AFRESH)}
    for run in range(runs):
        painter = studio.painter()
        times[COLD].append(painted(studio, painter, first := strengths(side, run, 0.25), first))
        times[WARM].append(painted(studio, painter, across := strengths(side, run, 0.5), down := strengths(side, run)))
        times[COLUMN].append(painted(studio, painter, [*across, round(across[-1] + 0.1, 4)], down))
        cells = [[x, y] for y in down for x in across]
        times[ONCE].append(diffusers(studio, cells, fresh=False)["seconds"])
        times[AFRESH].append(diffusers(studio, cells, fresh=True)["seconds"])
    return times


def strengths(side: int, run: int, first: float = 0.75) -> list[float]:
    """So many strengths that no other run has."""
    return [round(first + place / 10 + run / 1000, 4) for place in range(side)]


def painted(studio: Studio, painter: Painter, across: list[float], down: list[float]) -> float:
    """Seconds in which the painter paints what is new of the grid of those strengths."""
    sampling = Sampling(solver="lcm", steps=STEPS, guidance=1.0, spacing="trailing", eta=0.0)
    x, y = Axis(STYLE, tuple(across)), Axis(FAST, tuple(down))
    plan = plan_grid(studio.registry, studio.recipe(1.0), prompts=[PROMPT], x=x, y=y, sampling=sampling)
    return studio.finished(painter, submit_grid(studio.registry, plan))


def print_table(document: Mapping[str, Any]) -> None:
    """Medians as a Markdown table, beside the warm grid."""
    libraries, side = document["libraries"], document["side"]
    print(f"{side} x {side} pictures of {STEPS} steps, shapes base, {document['machine']}, ", end="")
    print(f"torch {libraries['torch']}, {libraries['threads']} threads\n")
    print(table_lines(list(_rows(document["figures"]))))


def _rows(figures: Mapping[str, list[float]]) -> Iterator[tuple[str, str, str, bool | None]]:
    warm = statistics.median(figures[WARM])
    for name, times in figures.items():
        middle = statistics.median(times)
        yield name, f"{middle:.2f} s, {middle / warm:.1f} x the warm grid", "", None


if __name__ == "__main__":
    main()

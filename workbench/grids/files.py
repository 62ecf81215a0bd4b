"""A grid as files: a PNG with its legend, a page to zoom into, and tables."""

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from workbench.errors import InvalidSettings
from workbench.grids.page import grid_html
from workbench.grids.planning import GridPlan, painted_cells
from workbench.grids.words import axis_label, legend_of, panel_title, title_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from registry import Registry

SMALLEST, LARGEST = 128, 512
"""Pixels of the longer side of a picture on the sheet."""


def write_grid(registry: "Registry", plan: GridPlan, out: Path) -> tuple[Path, ...]:
    """Write the grid as it is painted so far: to `out`, whose suffix says as what, or all of it into a folder.

    The files of a folder are grid.png, grid.html, grid.csv and grid.json. Raises InvalidSettings for another suffix.
    """
    if out.suffix and out.suffix not in WRITERS:
        raise InvalidSettings(f"{out}: a grid is written as {', '.join(WRITERS)}, or into a folder")
    paths = (out,) if out.suffix else tuple(out / f"grid{suffix}" for suffix in WRITERS)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path in paths:
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(WRITERS[path.suffix](registry, plan))
        partial.replace(path)
    return paths


def grid_place(registry: "Registry", plan: GridPlan) -> Path:
    """The folder below the registry's home where the files of a grid go when nothing else is said."""
    return registry.home / "grids" / hashlib.sha256("".join(plan.keys).encode()).hexdigest()[:16]


def grid_png(registry: "Registry", plan: GridPlan) -> bytes:
    """The sheet as a PNG that carries the whole grid, so that `recall` reads it."""
    from PIL import Image

    from sampling import save_sheet

    found = painted_cells(registry, plan)
    record = {"grid": plan.to_json(), "pictures": {key: one.picture for key, one in found.items()}}
    images = {key: Image.open(registry.blob_path(one.picture)).convert("RGB") for key, one in found.items()}
    with TemporaryDirectory(prefix="tau-grid-") as folder:
        path = Path(folder) / "grid.png"
        save_sheet(grid_sheet(plan, images), path, record)
        return path.read_bytes()


def grid_sheet(plan: GridPlan, images: "Mapping[str, Image]") -> "Image":
    """All panels under each other on one picture, with what they share in a legend; `images` are by their keys."""
    from sampling import Appearance, contact_sheet

    longest = max((max(image.size) for image in images.values()), default=SMALLEST)
    side = min(max(longest, SMALLEST), LARGEST)
    rows = []
    for place, panel in enumerate(plan.panels):
        for i, value in enumerate(plan.rows):
            label = "\n".join(filter(None, (axis_label(plan.y, value) if plan.y else "", panel_title(plan, panel))))
            cells = [plan.cell(i, j, place) for j in range(len(plan.columns))]
            rows.append((label, [images.get(cell.key) or _blank(side) for cell in cells]))
    columns = [axis_label(plan.x, value) for value in plan.columns]
    legend = [f"{name}: {value}" for name, value in legend_of(plan)]
    return contact_sheet(rows, columns, title_of(plan), legend=legend, appearance=Appearance(picture=side))


def grid_rows(registry: "Registry", plan: GridPlan) -> list[dict[str, Any]]:
    """One row a cell: where it stands, what it is, its picture (None until it is painted), and what was measured."""
    found = painted_cells(registry, plan)
    return [
        {
            "panel": cell.panel,
            "row": cell.row,
            "column": cell.column,
            "x": plan.columns[cell.column],
            "y": plan.rows[cell.row],
            **{key: value for key, value in cell.to_json().items() if key not in ("panel", "row", "column")},
            "picture": found[cell.key].picture if cell.key in found else None,
            "metrics": dict(found[cell.key].metrics) if cell.key in found else {},
        }
        for cell in plan.cells
    ]


def grid_csv(registry: "Registry", plan: GridPlan) -> str:
    """`grid_rows` as CSV with a header; settings and metrics are columns of their own."""
    flat = [{**row, **row["sampling"], **row["metrics"]} for row in grid_rows(registry, plan)]
    columns = [
        name for name in dict.fromkeys(key for row in flat for key in row) if name not in ("sampling", "metrics")
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def grid_json(registry: "Registry", plan: GridPlan) -> str:
    """`grid_rows` with the axes."""
    document = {
        "schema": "tau.grid/1",
        "recipe": plan.text,
        "x": {"name": plan.x.name, "values": plan.columns},
        "y": {"name": plan.y.name, "values": plan.rows} if plan.y else None,
        "cells": grid_rows(registry, plan),
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _blank(side: int) -> "Image":
    """What stands for a picture that is not painted yet."""
    from PIL import Image, ImageDraw

    blank = Image.new("RGB", (side, side), (238, 238, 234))
    ImageDraw.Draw(blank).line((side // 3, side // 2, side * 2 // 3, side // 2), (170, 172, 176), 2)
    return blank


WRITERS: Final[Mapping[str, "Callable[[Registry, GridPlan], bytes]"]] = {
    ".png": grid_png,
    ".html": lambda registry, plan: grid_html(registry, plan).encode(),
    ".csv": lambda registry, plan: grid_csv(registry, plan).encode(),
    ".json": lambda registry, plan: grid_json(registry, plan).encode(),
}
"""Suffix -> what is written under it."""

"""A grid as one HTML page to zoom into, with everything inside."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from workbench.grids.cells import Cell
from workbench.grids.planning import GridPlan, painted_cells
from workbench.grids.words import axis_label, legend_of, panel_title, sampling_words, title_of

if TYPE_CHECKING:
    from registry import Preview, Registry


def grid_html(registry: "Registry", plan: GridPlan) -> str:
    """One page with everything inside: it asks nobody for anything, and no text of a user is markup."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    found = painted_cells(registry, plan)
    style, script = _template("grid.css"), _template("grid.js")
    return (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(_template("grid.html.j2"))
        .render(
            title=title_of(plan),
            legend=legend_of(plan),
            corner=f"{plan.y.title if plan.y else ''} \\ {plan.x.title}",
            columns=[axis_label(plan.x, value) for value in plan.columns],
            panels=[_panel(registry, plan, place, found) for place in range(len(plan.panels))],
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def _panel(registry: "Registry", plan: GridPlan, place: int, found: "Mapping[str, Preview]") -> dict[str, Any]:
    rows = [
        {
            "label": axis_label(plan.y, value) if plan.y else "",
            "cells": [
                _cell(registry, plan, plan.cell(i, j, place), found.get(plan.cell(i, j, place).key))
                for j in range(len(plan.columns))
            ],
        }
        for i, value in enumerate(plan.rows)
    ]
    return {"title": panel_title(plan, plan.panels[place]), "rows": rows}


def _cell(registry: "Registry", plan: GridPlan, cell: Cell, kept: "Preview | None") -> dict[str, Any]:
    png = registry.blob_path(kept.picture).read_bytes() if kept else b""
    return {
        **{name: getattr(cell, name) for name in ("panel", "row", "column", "pinned", "base", "prompt", "seed")},
        "x": axis_label(plan.x, plan.columns[cell.column]),
        "y": axis_label(plan.y, plan.rows[cell.row]) if plan.y else "",
        "how": sampling_words(cell.sampling),
        "metrics": _measured(kept.metrics if kept else {}),
        "png": base64.b64encode(png).decode(),
        "width": _width(png),
    }


def _measured(metrics: Mapping[str, Any]) -> str:
    """The numbers, and why there is none."""
    numbers = [f"{name} {value:.3g}" for name, value in metrics.items() if isinstance(value, int | float)]
    return "; ".join([", ".join(numbers), *(str(why) for name, why in metrics.items() if name.endswith("_why"))])


def _width(png: bytes) -> int | None:
    """Pixels across, as the first chunk of a PNG has them."""
    return int.from_bytes(png[16:20], "big") if png else None


@cache
def _template(name: str) -> str:
    return files("workbench").joinpath("templates", name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a content security policy allows exactly this text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

"""The demo's report: one HTML file with pictures, table, recipe, certificate and lineage, and nothing outside it."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Lineage

BOX_WIDTH, BOX_HEIGHT, COLUMN, ROW = 200, 46, 380, 84
"""Sizes of the lineage drawing, in pixels."""

LONGEST_NAME = 26
"""Characters of a name that fit a box."""


@dataclass(frozen=True)
class Sheet:
    """A picture of the report and what it shows."""

    title: str
    caption: str
    path: Path


@dataclass(frozen=True)
class ComposedFile:
    """What the report says of one composition; `dialects` are {"name", "sentence"} of other tools' merges."""

    version: str
    recipe: str
    locked: str
    worst_relative_error: float
    modules: int
    method: str
    dialects: Sequence[Mapping[str, str]]


def write_report(
    path: Path,
    *,
    title: str,
    summary: str,
    seed: int,
    pictures: int,
    sheets: Sequence[Sheet],
    rows: Sequence[Mapping[str, Any]],
    compositions: Sequence[ComposedFile],
    lineage: "Lineage",
    commands: Sequence[str],
) -> Path:
    """Write the report to `path`, whole or not at all; returns `path`."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        files("workbench").joinpath("templates/report.html.j2").read_text()
    )
    shown = [
        {"title": s.title, "caption": s.caption, "png": base64.b64encode(s.path.read_bytes()).decode()} for s in sheets
    ]
    text = template.render(
        title=title,
        summary=summary,
        seed=seed,
        pictures=pictures,
        sheets=shown,
        rows=rows,
        compositions=compositions,
        lineage=Markup(lineage_svg(lineage)),
        commands=commands,
    )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
    return path


def lineage_svg(lineage: "Lineage") -> str:
    """The lineage as an SVG drawing: parents on the left, children on the right, lambdas on the edges."""
    columns = _columns(lineage)
    places = _places(columns)
    width = max(x for x, _ in places.values()) + BOX_WIDTH + 10
    height = max(y for _, y in places.values()) + BOX_HEIGHT + 10
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" aria-label="lineage">']
    parts += [_edge(places[parent], places[child], label) for (parent, child), label in _labels(lineage).items()]
    parts += [_box(places[node.ref], node.ref, node.kind) for node in lineage.nodes]
    return "".join([*parts, "</svg>"])


def _columns(lineage: "Lineage") -> dict[str, int]:
    """Node -> its column: one right of its rightmost parent."""
    parents: dict[str, list[str]] = {node.ref: [] for node in lineage.nodes}
    for edge in lineage.edges:
        parents[edge.child].append(edge.parent)
    columns: dict[str, int] = {}

    def column(name: str) -> int:
        if name not in columns:
            columns[name] = 1 + max((column(parent) for parent in parents[name]), default=-1)
        return columns[name]

    for name in parents:
        column(name)
    return columns


def _places(columns: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Node -> the upper left corner of its box."""
    filled: dict[int, int] = {}
    places = {}
    for name, column in sorted(columns.items(), key=lambda item: (item[1], item[0])):
        row = filled.get(column, 0)
        filled[column] = row + 1
        places[name] = (5 + column * COLUMN, 5 + row * ROW)
    return places


def _box(place: tuple[int, int], name: str, kind: str) -> str:
    x, y = place
    return (
        f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text x="{x + 12}" y="{y + 20}">{escape(_short(name))}</text>'
        f'<text class="note" x="{x + 12}" y="{y + 37}">{escape(kind)}</text>'
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}\u2026"


def _labels(lineage: "Lineage") -> dict[tuple[str, str], str]:
    """(Parent, child) -> what their edges say: the lambda of a composition, else the relations."""
    labels: dict[tuple[str, str], list[str]] = {}
    for edge in lineage.edges:
        word = edge.relation.replace("_", " ") if edge.weight is None else f"{edge.weight:g}"
        labels.setdefault((edge.parent, edge.child), []).append(word)
    return {pair: ", ".join(words) for pair, words in labels.items()}


def _edge(start: tuple[int, int], end: tuple[int, int], label: str) -> str:
    """A curve from the right of the parent's box to the left of the child's, its label a third of the way along."""
    x1, y1, x2, y2 = start[0] + BOX_WIDTH, start[1] + BOX_HEIGHT // 2, end[0], end[1] + BOX_HEIGHT // 2
    middle = (x1 + x2) // 2
    at = x1 + 0.36 * (x2 - x1), y1 + 0.27 * (y2 - y1)
    return (
        f'<path d="M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"/>'
        f'<text class="note" x="{at[0]:.0f}" y="{at[1] - 4:.0f}" text-anchor="middle">{escape(label)}</text>'
    )

"""What the commands print: JSON and rows on stdout, hints, problems and progress on stderr."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

SCHEMA = 1
"""Version of every JSON document below; it grows only when a field changes its meaning or goes."""


def out() -> Console:
    """The console of data."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def err() -> Console:
    """The console of progress and hints."""
    return Console(file=sys.stderr, highlight=False, soft_wrap=True)


def hint(text: str) -> None:
    """A sentence for the person, on stderr."""
    err().print(f"[dim]{escape(text)}[/dim]")


def problem(text: str) -> None:
    """Why the command failed, on stderr. The text is kept as it is: a caret must stay under its place."""
    err().print(f"[bold red]error:[/bold red] {escape(text)}")


def document(kind: str, body: Mapping[str, Any]) -> None:
    """One JSON object on stdout; `schema` says what it is and in which version."""
    print(json.dumps({"schema": f"tau.{kind}/{SCHEMA}", **body}, ensure_ascii=False, allow_nan=False))


def lines(values: Iterable[object]) -> None:
    """One value a line on stdout, as it is."""
    for value in values:
        print(value)


def moment(at: datetime) -> str:
    """A time to the second."""
    return at.isoformat(sep=" ", timespec="seconds")


def duration(seconds: float) -> str:
    """A time span in its two largest units: 40 s, 3 min 5 s, 2 h 10 min, 3 d 4 h."""
    left = max(0, round(seconds))
    for size, unit, smaller, below in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if left >= size:
            rest = left % size // smaller
            return f"{left // size} {unit} {rest} {below}" if rest else f"{left // size} {unit}"
    return f"{left} s"


def words(values: Mapping[str, object] | None) -> str:
    """A small mapping on one line."""
    return ", ".join(f"{key} {value}" for key, value in (values or {}).items() if value is not None)


def rows(columns: Sequence[str], values: Iterable[Sequence[object]]) -> None:
    """A table for a terminal; elsewhere one line a row, its cells separated by tabs, without a header."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in values]
    if not sys.stdout.isatty():
        lines("\t".join(row) for row in cells)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in cells:
        table.add_row(*map(escape, row))
    Console(file=sys.stdout, highlight=False).print(table)


def fields(values: Mapping[str, object]) -> None:
    """Named values, one a line: aligned on a terminal, separated by a tab elsewhere. Empty ones are left out."""
    present = {name: str(value) for name, value in values.items() if value not in (None, "", (), [], {})}
    if not sys.stdout.isatty():
        lines(f"{name}\t{value}" for name, value in present.items())
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in present.items():
        table.add_row(name, escape(value))
    Console(file=sys.stdout, highlight=False).print(table)

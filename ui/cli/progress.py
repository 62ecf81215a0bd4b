"""Progress on stderr, for people only: without a terminal there is none."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ui.cli.output import err


class Count(Protocol):
    """How far something is, and perhaps a word on what it is doing."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def counting(what: str, unit: str) -> Iterator[Count]:
    """A bar that follows the calls of what it hands out."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim"),
    )
    with Progress(*columns, console=err(), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None, note="")

        def count(done: int, total: int, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield count

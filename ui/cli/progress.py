"""Progress on stderr, for people only: without a terminal there is none."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ui.cli.output import err

if TYPE_CHECKING:
    from workbench.pace import Progress as Pace
    from workbench.pace import Tell


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


@contextmanager
def following(what: str) -> "Iterator[Tell]":
    """A bar that follows a long intake in MiB, with the items that are done and the time that it will still take."""
    with counting(what, "MiB") as count:

        def tell(pace: "Pace") -> None:
            left = "" if pace.seconds_left is None else f", {duration(pace.seconds_left)} left"
            note = f"{pace.done_items}/{pace.total_items}{left}: {pace.note}"
            count(pace.done_bytes >> 20, pace.total_bytes >> 20, note)

        yield tell


def duration(seconds: float) -> str:
    """A time to wait, in its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"

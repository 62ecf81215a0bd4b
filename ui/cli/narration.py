"""Tells the demo's story on stderr: chapters, evidence, progress, and pictures drawn in the terminal where it can."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from ui.cli.output import err

if TYPE_CHECKING:
    from formats import Identification
    from workbench.demo.evaluation import Score

PICTURE_COLUMNS = 96
"""Widest terminal drawing, in characters; each shows two pixels, one above the other."""


class TerminalNarrator:
    """A `workbench.demo.story.Narrator` for the terminal; close it (or use it as a context) to take its bar away."""

    def __init__(self) -> None:
        self.console = err()
        self._bar: tuple[Progress, TaskID] | None = None

    def __enter__(self) -> "TerminalNarrator":
        return self

    def __exit__(self, *_: object) -> None:
        self._end_bar()

    def chapter(self, title: str) -> None:
        """A new part begins."""
        self._end_bar()
        self.console.print(f"\n[bold]{escape(title)}[/bold]")

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(f"  {escape(text)}")

    def identified(self, name: str, found: "Identification") -> None:
        """What a file is, with the first evidence for each finding."""
        what = f"{found.kind}, {found.family.value}, {found.adapter.value}, {found.layout.value}"
        rank = f", rank {found.rank}" if found.rank else ""
        self.console.print(f"  [bold]{escape(name)}[/bold]: {escape(what + rank)}, {found.modules} modules")
        for finding in (found.family, found.adapter, found.layout):
            for evidence in finding.evidence[:1]:
                self.console.print(f"    [dim]{escape(evidence)}[/dim]")

    def picture(self, path: Path, title: str) -> None:
        """The picture's path, and the picture itself where the terminal shows colours."""
        self.console.print(f"  {escape(title)}: {escape(str(path))}")
        if self.console.is_terminal and not os.environ.get("NO_COLOR"):
            self.console.print(drawing(path, min(PICTURE_COLUMNS, self.console.width - 4)))

    def count(self, done: int, total: int, note: str) -> None:
        """Progress of the part at hand; without a terminal, none."""
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            columns = (TextColumn("  "), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
            progress = Progress(*columns, console=self.console, transient=True)
            self._bar = progress, progress.add_task("", total=total, note=note)
            progress.start()
        progress, task = self._bar
        progress.update(task, completed=done, total=total, note=note)

    def table(self, scores: "Sequence[Score]") -> None:
        """The measured rows."""
        self._end_bar()
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
        for name in ("style", "what", "solver"):
            table.add_column(name, no_wrap=True)
        for name in ("steps", "cfg", "evals", "attr", "style", "joint", "endpoint", "seconds"):
            table.add_column(name, justify="right", no_wrap=True)
        for score in scores:
            who = score.contender
            table.add_row(
                score.style,
                who.role,
                who.solver,
                str(who.steps),
                f"{who.guidance:g}",
                str(who.evaluations),
                f"{score.attribute_accuracy:.2f}",
                "" if score.style_accuracy is None else f"{score.style_accuracy:.2f}",
                f"{score.joint_accuracy:.2f}",
                "" if score.endpoint_error is None else f"{score.endpoint_error:.3f}",
                f"{score.seconds:.1f}",
                style="bold" if who.role == "composition" else None,
            )
        self.console.print(table)

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar[0].stop()
            self._bar = None


def drawing(path: Path, columns: int) -> str:
    """The picture as lines of half blocks in true colour (rich markup), at most `columns` characters wide."""
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    columns = min(columns, image.width)
    rows = max(2, round(image.height * columns / image.width) // 2 * 2)
    small = image.resize((columns, rows), Image.Resampling.LANCZOS)
    lines = []
    for y in range(0, rows, 2):
        cells = ((small.getpixel((x, y)), small.getpixel((x, y + 1))) for x in range(columns))
        lines.append("  " + "".join(f"[#{_hex(top)} on #{_hex(bottom)}]▀[/]" for top, bottom in cells))
    return "\n".join(lines)


def _hex(pixel: Sequence[int]) -> str:
    return "".join(f"{value:02x}" for value in pixel)

"""A labelled contact sheet: rows and columns of pictures with a title, row labels and column labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

SUPERSAMPLING = 4
"""Text is drawn this many times larger and reduced: letters then stand at fractions of a pixel, evenly spaced."""

LABEL_GAP = 18
"""Pixels between a row's label and its first picture."""


@dataclass(frozen=True)
class Appearance:
    """Sizes in pixels and colours of a contact sheet."""

    picture: int = 112
    gap: int = 6
    margin: int = 28
    title_size: int = 22
    note_size: int = 13
    label_size: int = 14
    widest_label: int = 230
    narrowest_legend: int = 480
    paper: Colour = (250, 250, 248)
    ink: Colour = (28, 30, 33)
    faint_ink: Colour = (110, 114, 120)
    rule: Colour = (222, 222, 217)


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]],
    columns: Sequence[str] = (),
    title: str = "",
    *,
    note: str = "",
    legend: Sequence[str] = (),
    appearance: Appearance | None = None,
) -> Image.Image:
    """One RGB picture of all rows: (label, pictures), under the labels `columns`, a `title` and a faint `note`.

    Below stands the `legend`, a paragraph each, broken to the sheet's width. Pictures are resampled with Lanczos to
    `appearance.picture` pixels on their longer side. A line feed in a label starts its second, fainter part.
    Raises ValueError when there is no picture or a row has more than the columns.
    """
    look = appearance or Appearance()
    across = len(columns) or max((len(pictures) for _, pictures in rows), default=0)
    if not across or not any(len(pictures) for _, pictures in rows):
        raise ValueError("a contact sheet needs at least one row with a picture")
    if wrong := [label for label, pictures in rows if len(pictures) > across]:
        raise ValueError(f"row {wrong[0]!r} has more pictures than the {across} columns")
    plan = _Plan.of(rows, columns, title, note, across, look).with_legend(legend)
    sheet = Image.new("RGB", plan.size, look.paper)
    _write_heading(sheet, plan, title, note)
    for j, label in enumerate(columns):
        _write_column_label(sheet, plan, j, label)
    for i, (label, pictures) in enumerate(rows):
        _write_row_label(sheet, plan, i, label)
        for j, picture in enumerate(pictures):
            _place(sheet, plan, i, j, picture)
    _write_legend(sheet, plan)
    return sheet


@dataclass(frozen=True)
class _Plan:
    """Where everything of one sheet stands, in pixels."""

    look: Appearance
    left: int
    top: int
    heading: int
    size: tuple[int, int]
    legend: tuple[str, ...] = ()
    """Its lines."""

    @classmethod
    def of(
        cls,
        rows: Sequence[tuple[str, Sequence[Image.Image]]],
        columns: Sequence[str],
        title: str,
        note: str,
        across: int,
        look: Appearance,
    ) -> "_Plan":
        widest = max(_block_width(wrapped(label, look.widest_label, look.label_size), look) for label, _ in rows)
        left = look.margin + (widest + LABEL_GAP if widest else 0)
        heading = (look.title_size + 12 if title else 0) + (look.note_size + 14 if note else 0)
        lines = max((len(wrapped(label, look.picture, look.label_size)) for label in columns), default=0)
        labels = lines * _leading(look) + 8 if lines else 0
        top = look.margin + heading + (18 if heading else 0) + labels
        pitch = look.picture + look.gap
        width = left + across * pitch - look.gap + look.margin
        title_width = max(_width(title, look.title_size), _width(note, look.note_size)) + 2 * look.margin
        return cls(
            look, left, top, heading, (max(width, title_width), top + len(rows) * pitch - look.gap + look.margin)
        )

    def with_legend(self, paragraphs: Sequence[str]) -> "_Plan":
        """The plan with room below for the lines of a legend."""
        width, height = max(self.size[0], self.look.narrowest_legend if paragraphs else 0), self.size[1]
        room = width - 2 * self.look.margin
        lines = tuple(line for text in paragraphs for line, _ in wrapped(text, room, self.look.note_size))
        return replace(self, legend=lines, size=(width, height + len(lines) * _note_leading(self.look)))

    def corner(self, i: int, j: int) -> tuple[int, int]:
        """Upper left corner of the picture in row i, column j."""
        pitch = self.look.picture + self.look.gap
        return self.left + j * pitch, self.top + i * pitch


def wrapped(text: str, width: int, size: int) -> list[tuple[str, bool]]:
    """(line, whether it is faint) of `text`, broken at spaces so that each line fits `width` pixels if a word does."""
    lines: list[tuple[str, bool]] = []
    for k, part in enumerate(text.split("\n") if text else []):
        line = ""
        for word in part.split():
            longer = f"{line} {word}".strip()
            if line and _width(longer, size) > width:
                lines.append((line, k > 0))
                longer = word
            line = longer
        lines.append((_shortened(line, width, size), k > 0))
    return lines


def _shortened(line: str, width: int, size: int) -> str:
    if _width(line, size) <= width:
        return line
    while line and _width(f"{line}…", size) > width:
        line = line[:-1]
    return f"{line}…"


def _write_heading(sheet: Image.Image, plan: _Plan, title: str, note: str) -> None:
    look, y = plan.look, plan.look.margin
    if title:
        _write(sheet, (look.margin, y), title, look.title_size, look.ink)
        y += look.title_size + 12
    if note:
        _write(sheet, (look.margin, y), note, look.note_size, look.faint_ink)
    if plan.heading:
        y = look.margin + plan.heading
        ImageDraw.Draw(sheet).line((look.margin, y, plan.size[0] - look.margin - 1, y), look.rule, 1)


def _write_legend(sheet: Image.Image, plan: _Plan) -> None:
    look, leading = plan.look, _note_leading(plan.look)
    top = plan.size[1] - look.margin // 2 - len(plan.legend) * leading
    for k, line in enumerate(plan.legend):
        _write(sheet, (look.margin, top + k * leading), line, look.note_size, look.faint_ink)


def _write_column_label(sheet: Image.Image, plan: _Plan, j: int, label: str) -> None:
    look = plan.look
    x, top = plan.corner(0, j)
    lines = wrapped(label, look.picture, look.label_size)
    _write_block(sheet, (x + look.picture // 2, top - 8 - len(lines) * _leading(look)), lines, look, "ma")


def _write_row_label(sheet: Image.Image, plan: _Plan, i: int, label: str) -> None:
    look = plan.look
    lines = wrapped(label, look.widest_label, look.label_size)
    y = plan.corner(i, 0)[1] + (look.picture - len(lines) * _leading(look)) // 2
    _write_block(sheet, (plan.left - LABEL_GAP, y), lines, look, "ra")


def _write_block(
    sheet: Image.Image, at: tuple[int, int], lines: list[tuple[str, bool]], look: Appearance, anchor: str
) -> None:
    for k, (line, faint) in enumerate(lines):
        where = (at[0], at[1] + k * _leading(look))
        _write(sheet, where, line, look.label_size, look.faint_ink if faint else look.ink, anchor)


def _write(sheet: Image.Image, at: tuple[int, int], text: str, size: int, colour: Colour, anchor: str = "la") -> None:
    """Write one line whose anchor point (left, middle or right; ascender) stands at `at`."""
    width, height = _width(text, size) + 2, size * 2
    large = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
    ImageDraw.Draw(large).text((SUPERSAMPLING, 0), text, 255, _font(size * SUPERSAMPLING))
    mask = large.resize((width, height), Image.Resampling.BOX)
    x = at[0] - {"l": 1, "m": width // 2, "r": width - 1}[anchor[0]]
    sheet.paste(colour, (x, at[1]), mask)


def _place(sheet: Image.Image, plan: _Plan, i: int, j: int, picture: Image.Image) -> None:
    side = plan.look.picture
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    shown = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    x, y = plan.corner(i, j)
    x, y = x + (side - size[0]) // 2, y + (side - size[1]) // 2
    ImageDraw.Draw(sheet).rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=plan.look.rule, width=1)
    sheet.paste(shown, (x, y))


def _leading(look: Appearance) -> int:
    return round(look.label_size * 1.3)


def _note_leading(look: Appearance) -> int:
    return round(look.note_size * 1.4)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _width(text: str, size: int) -> int:
    return ceil(_font(size * SUPERSAMPLING).getlength(text) / SUPERSAMPLING) if text else 0


def _block_width(lines: list[tuple[str, bool]], look: Appearance) -> int:
    return max((_width(line, look.label_size) for line, _ in lines), default=0)

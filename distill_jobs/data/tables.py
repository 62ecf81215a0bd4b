"""Parquet files with a column of pictures (bytes, or a struct of bytes and path) and a column of captions."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow.parquet import ParquetFile

from distill_jobs.data.reading import LARGEST_CAPTION, Contents, Reading, Record
from distill_jobs.errors import BrokenArchive, DatasetError, MissingCaptions, UnknownColumn

CAPTIONS = ("text", "caption")
"""Names by which a caption column is known among several columns of text."""

BATCH_ROWS = 16
LARGEST_GROUP = 512 * 1024**2
"""Bytes of pictures in one row group, which is what parquet reads at random; as many are kept in memory."""


class Cell(NamedTuple):
    """Where a picture lies: the number of its file, its row group, and its row in that."""

    file: int
    group: int
    row: int


class Columns(NamedTuple):
    """The columns that are read."""

    image: str
    caption: str


class Tables:
    """Parquet files; a picture's name is its `path` where the column has one."""

    kind = "parquet"

    def __init__(
        self, files: Sequence[Path], reading: Reading, title: str, uri: str, *, largest_group: int = LARGEST_GROUP
    ) -> None:
        self.files, self.title, self.uri, self.largest_group = tuple(files), title, uri, largest_group
        self.columns = tuple(_columns(path, reading) for path in self.files)
        self._groups: OrderedDict[tuple[int, int], pa.ChunkedArray] = OrderedDict()

    def records(self) -> Iterator[tuple[Record, Contents]]:
        """Every picture, row by row. Raises BrokenArchive, MissingCaptions, DatasetError."""
        problems: list[str] = []
        for number, path in enumerate(self.files):
            with _opened(path) as table:
                for group in range(table.num_row_groups):
                    yield from self._group_records(table, path, number, group, problems)
        if problems:
            raise MissingCaptions(self.uri, problems)

    def read(self, locators: Sequence[Cell]) -> list[bytes]:
        """The bytes of some pictures; neighbours in a row group are read together."""
        found = {cell: _contents(self._group(cell.file, cell.group)[cell.row]) for cell in sorted(set(locators))}
        return [found[cell] or b"" for cell in locators]

    def _group_records(
        self, table: ParquetFile, path: Path, number: int, group: int, problems: list[str]
    ) -> Iterator[tuple[Record, Contents]]:
        row = total = 0
        before = sum(table.metadata.row_group(g).num_rows for g in range(group))
        columns = self.columns[number]
        for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns)):
            for picture, text in zip(batch.column(columns.image), batch.column(columns.caption), strict=True):
                place, cell = f"{path.name} row {before + row}", Cell(number, group, row)
                row += 1
                contents, caption = _contents(picture), _caption(text, place, problems)
                if contents is None:
                    problems.append(f"{place} (no bytes in {columns.image})")
                elif caption is not None:
                    total = self._require_small(path, group, total + len(contents))
                    yield Record(_path(picture), place, caption, cell), _constant(contents)

    def _require_small(self, path: Path, group: int, size: int) -> int:
        if size > self.largest_group:
            raise DatasetError(
                f"{path}: row group {group} holds more than {self.largest_group:,} bytes of pictures, too many to "
                "read one at random; write it again with row_group_size=100"
            )
        return size

    def _group(self, file: int, group: int) -> pa.ChunkedArray:
        """One row group's pictures; the last ones used are kept."""
        if (file, group) not in self._groups:
            with _opened(self.files[file]) as table:
                image = self.columns[file].image
                self._groups[file, group] = table.read_row_group(group, columns=[image]).column(image)
            while len(self._groups) > 1 and sum(kept.nbytes for kept in self._groups.values()) > self.largest_group:
                self._groups.popitem(last=False)
        self._groups.move_to_end((file, group))
        return self._groups[file, group]


@contextmanager
def _opened(path: Path) -> Iterator[ParquetFile]:
    try:
        with ParquetFile(path) as table:
            yield table
    except (pa.ArrowException, OSError) as error:
        raise BrokenArchive(path, f"{error}; copy or write it again") from error


def _columns(path: Path, reading: Reading) -> Columns:
    with _opened(path) as table:
        fields = {field.name: field.type for field in table.schema_arrow}
    pictures = [name for name, type in fields.items() if _holds_pictures(type)]
    texts = [name for name, type in fields.items() if pa.types.is_string(type) or pa.types.is_large_string(type)]
    known = [name for name in CAPTIONS if name in texts]
    return Columns(
        _chosen(path, "image", reading.image_column, pictures, fields),
        _chosen(path, "caption", reading.caption_column, texts, fields, known),
    )


def _chosen(
    path: Path, role: str, wanted: str | None, fitting: list[str], fields: dict[str, Any], known: Sequence[str] = ()
) -> str:
    """The column for a role: the one named, else the only known one, else the only fitting one."""
    there = [f"{name} ({type})" for name, type in fields.items()]
    if wanted is not None:
        if wanted in fitting:
            return wanted
        if wanted not in fields:
            raise UnknownColumn(path, role, wanted, list(fields))
        holds = "pictures' bytes" if role == "image" else "text"
        raise UnknownColumn(path, role, wanted, there, f"the column {wanted!r} is {fields[wanted]}, not {holds}")
    candidates = list(known) if len(known) == 1 else fitting
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        many = f"{len(candidates)} columns may be the {role}: {', '.join(candidates)}"
        raise UnknownColumn(path, role, wanted, there, many)
    raise UnknownColumn(path, role, wanted, there)


def _holds_pictures(type: pa.DataType) -> bool:
    if pa.types.is_struct(type):
        return any(field.name == "bytes" and _holds_pictures(field.type) for field in type)
    return pa.types.is_binary(type) or pa.types.is_large_binary(type)


def _contents(value: pa.Scalar) -> bytes | None:
    if not value.is_valid:
        return None
    held = value["bytes"] if pa.types.is_struct(value.type) else value
    return held.as_py() if held.is_valid else None


def _path(value: pa.Scalar) -> str | None:
    if not pa.types.is_struct(value.type) or value.type.get_field_index("path") < 0:
        return None
    try:
        return value["path"].as_py() or None
    except UnicodeDecodeError:
        return None


def _caption(value: pa.Scalar, place: str, problems: list[str]) -> str | None:
    if not value.is_valid:
        problems.append(f"{place} (no caption)")
        return None
    contents = value.as_buffer().to_pybytes()
    if len(contents) > LARGEST_CAPTION:
        problems.append(f"{place} (its caption has more than {LARGEST_CAPTION:,} bytes)")
        return None
    try:
        return contents.decode("utf-8")
    except UnicodeDecodeError as error:
        problems.append(f"{place} (its caption is not UTF-8 at byte {error.start})")
        return None


def _constant(contents: bytes) -> Contents:
    return lambda: contents

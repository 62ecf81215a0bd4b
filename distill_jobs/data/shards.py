"""webdataset shards: tar archives in which files of one stem are one sample, NAME.png beside NAME.txt or NAME.json.

Nothing is unpacked: a shard is indexed once, and a picture is read at its offset.
"""

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from distill_jobs.data.pictures import SUFFIXES, contents_at
from distill_jobs.data.reading import LARGEST_CAPTION, Contents, Reading, Record
from distill_jobs.errors import BrokenArchive, DatasetError, MissingCaptions, UnknownColumn

CAPTION_KEYS = ("caption", "text")
"""The captions' keys in a .json, where no other is named."""


class Extent(NamedTuple):
    """Where a member's bytes lie: the number of its shard, the offset in it, and the size."""

    shard: int
    offset: int
    size: int


@dataclass(frozen=True)
class Member:
    """A file in a shard."""

    name: str
    extension: str
    extent: Extent


class Shards:
    """Tar archives; a picture's name is its path in the archive, and no two shards may share one."""

    kind = "webdataset"

    def __init__(self, files: Sequence[Path], reading: Reading, title: str, uri: str) -> None:
        self.files, self.reading, self.title, self.uri = tuple(files), reading, title, uri

    def records(self) -> Iterator[tuple[Record, Contents]]:
        """Every picture, shard by shard. Raises BrokenArchive, MissingCaptions, UnknownColumn, DatasetError."""
        seen: dict[str, Path] = {}
        problems: list[str] = []
        for number, path in enumerate(self.files):
            samples = _samples(path, number)
            for key in samples:
                if key in seen:
                    raise DatasetError(f"{path}: {key} is in {seen[key].name} as well; a sample's name must be its own")
                seen[key] = path
            yield from self._records(path, samples, problems)
        if problems:
            raise MissingCaptions(self.uri, problems)

    def read(self, locators: Sequence[Extent]) -> list[bytes]:
        """The bytes of some pictures."""
        return [self._contents(extent) for extent in locators]

    def _contents(self, extent: Extent) -> bytes:
        with self.files[extent.shard].open("rb") as stream:
            return contents_at(stream, extent.offset, extent.size)

    def _records(
        self, path: Path, samples: dict[str, list[Member]], problems: list[str]
    ) -> Iterator[tuple[Record, Contents]]:
        for key, members in samples.items():
            place = f"{path.name}/{key}"
            picture = self._picture(path, key, members)
            if picture is None:
                problems.append(f"{place} (no picture)")
                continue
            try:
                caption = self._caption(path, key, members)
            except _Uncaptioned as error:
                problems.append(f"{place} ({error})")
                continue
            record = Record(picture.name, f"{path.name}/{picture.name}", caption, picture.extent)
            yield record, partial(self._contents, picture.extent)

    def _picture(self, path: Path, key: str, members: list[Member]) -> Member | None:
        wanted = self.reading.image_column
        pictures = [member for member in members if f".{member.extension.rpartition('.')[2]}" in SUFFIXES]
        if wanted is not None:
            chosen = [member for member in pictures if member.extension == wanted.lower().lstrip(".")]
            if not chosen and pictures:
                raise UnknownColumn(f"{path}: {key}", "image", wanted, [member.extension for member in pictures])
            pictures = chosen
        if len(pictures) > 1:
            listed = ", ".join(member.extension for member in pictures)
            raise DatasetError(
                f"{path}: {key} has {len(pictures)} pictures ({listed}); choose by extension: --image-column "
                f"{pictures[0].extension}"
            )
        return pictures[0] if pictures else None

    def _caption(self, path: Path, key: str, members: list[Member]) -> str:
        by_extension = {member.extension: member for member in members}
        wanted = self.reading.caption_column
        if "txt" in by_extension and wanted is None:
            return self._text(by_extension["txt"]).strip()
        if "json" not in by_extension:
            raise _Uncaptioned("no .txt or .json" if wanted is None else f"no .json with {wanted}")
        try:
            row = json.loads(self._text(by_extension["json"]))
        except json.JSONDecodeError as error:
            raise _Uncaptioned(f"its .json does not parse: {error}") from error
        if not isinstance(row, dict):
            raise _Uncaptioned("its .json is no object")
        return _json_caption(f"{path}: {by_extension['json'].name}", row, wanted)

    def _text(self, member: Member) -> str:
        if member.extent.size > LARGEST_CAPTION:
            raise _Uncaptioned(f"its .{member.extension} has more than {LARGEST_CAPTION:,} bytes")
        try:
            return self._contents(member.extent).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _Uncaptioned(f"its .{member.extension} is not UTF-8 at byte {error.start}") from error


class _Uncaptioned(Exception):
    """Why a sample has no caption."""


def _json_caption(where: str, row: dict[str, object], wanted: str | None) -> str:
    keys = [key for key in ((wanted,) if wanted is not None else CAPTION_KEYS) if key in row]
    if not keys:
        raise UnknownColumn(where, "caption", wanted, list(row))
    if len(keys) > 1:
        raise DatasetError(f"{where} has both {' and '.join(keys)}; choose one: --caption-column {keys[0]}")
    caption = row[keys[0]]
    if not isinstance(caption, str):
        raise _Uncaptioned(f"{keys[0]} is {json.dumps(caption)[:40]}, not a string")
    return caption.strip()


def _samples(path: Path, number: int) -> dict[str, list[Member]]:
    """The members that are pictures or captions, by the path up to the first dot of the file's name."""
    samples: dict[str, list[Member]] = {}
    for member in _members(path):
        name = _checked_name(path, member)
        stem, _, extension = name.name.partition(".")
        extension = extension.lower()
        if extension not in ("txt", "json") and f".{extension.rpartition('.')[2]}" not in SUFFIXES:
            continue
        key = (name.parent / stem).as_posix()
        beside = samples.setdefault(key, [])
        if extension in {other.extension for other in beside}:
            raise DatasetError(f"{path}: {name} is in it twice; a sample has one file of each extension")
        beside.append(Member(name.as_posix(), extension, Extent(number, member.offset_data, member.size)))
    return samples


def _checked_name(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise BrokenArchive(path, f"the member {member.name!r} leaves the archive; pack it anew with paths inside it")
    if any("\ud800" <= letter <= "\udfff" for letter in member.name):
        raise BrokenArchive(path, f"the member name {member.name!r} is not UTF-8; rename it and pack again")
    if not member.isreg() or member.issparse():
        raise BrokenArchive(path, f"the member {member.name!r} is no ordinary file; pack the file itself")
    return name


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    """Every member that is no folder, to the archive's end mark. Raises BrokenArchive where that is missing."""
    try:
        with tarfile.open(path, "r:") as archive:
            yield from (member for member in archive if not member.isdir())
            end = archive.offset
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BrokenArchive(path, f"{error}; copy or pack it again (uncompressed: --data reads no .tar.gz)") from error
    _require_end(path, end)


def _require_end(path: Path, end: int) -> None:
    """Refuse an archive that stops before its end mark of zeros, or that goes on after it.

    tarfile itself takes a broken header, and the end of the file, for the end of the archive.
    """
    with path.open("rb") as stream:
        stream.seek(end)
        if len(mark := stream.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
            raise BrokenArchive(path, f"it is cut off at byte {end + len(mark):,}; copy or pack it again")
        if any(mark):
            raise BrokenArchive(path, f"there is no valid header at byte {end:,}; copy or pack it again")
        while piece := stream.read(tarfile.RECORDSIZE):
            if any(piece):
                raise BrokenArchive(path, f"it goes on after its end mark at byte {end:,}; pack it again as one")

"""A folder of captioned pictures: metadata.jsonl of {"file_name", "text"}, or a .txt beside each picture."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from distill_jobs.data.pictures import SUFFIXES, contents_of
from distill_jobs.data.reading import LARGEST_CAPTION, Contents, Reading, Record
from distill_jobs.errors import DatasetError, EmptyDataset, MissingCaptions, UnknownColumn

METADATA = "metadata.jsonl"
CAPTION = "text"
"""The captions' key in metadata.jsonl, where no other is named."""


class Folder:
    """Pictures as files; their names are the paths below the folder."""

    kind = "folder"

    def __init__(self, folder: Path, reading: Reading) -> None:
        self.folder, self.reading = folder, reading
        self.title, self.uri = folder.name, folder.absolute().as_uri()
        if reading.image_column is not None:
            raise DatasetError(f"{folder}: --image-column {reading.image_column}: pictures in a folder have no columns")

    def records(self) -> Iterator[tuple[Record, Contents]]:
        """Every picture, in the order of the names."""
        captions = self._captions()
        if not captions:
            raise EmptyDataset(self.folder)
        for name, caption in sorted(captions.items()):
            yield Record(name, name, caption, name), partial(contents_of, self.folder / name)

    def read(self, locators: Sequence[str]) -> list[bytes]:
        """The bytes of some pictures, by name."""
        return [contents_of(self.folder / name) for name in locators]

    def _captions(self) -> dict[str, str]:
        if (self.folder / METADATA).exists():
            return _from_metadata(self.folder, self.reading.caption_column or CAPTION)
        if self.reading.caption_column is not None:
            raise DatasetError(
                f"{self.folder}: --caption-column {self.reading.caption_column}: there is no {METADATA} whose key "
                "it could be; captions in .txt files have no columns"
            )
        return _from_text_files(self.folder)


def _from_metadata(folder: Path, key: str) -> dict[str, str]:
    captions: dict[str, str] = {}
    problems = []
    for number, line in enumerate(_text(folder / METADATA).splitlines(), start=1):
        if not line.strip():
            continue
        name, caption = _metadata_row(folder / METADATA, number, line, key)
        if name in captions:
            raise DatasetError(f"{folder / METADATA}:{number}: {name} is listed twice; keep one line a picture")
        if not (folder / name).is_file():
            problems.append(f"{name} (listed in {METADATA}:{number}, no such file)")
        captions[name] = caption
    problems += [f"{name} (not in {METADATA})" for name in _picture_names(folder) if name not in captions]
    if problems:
        raise MissingCaptions(folder, problems)
    return captions


def _metadata_row(path: Path, number: int, line: str, key: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise _malformed(path, number, line, key) from error
    if isinstance(row, dict) and "file_name" in row and key not in row and key != CAPTION:
        raise UnknownColumn(f"{path}:{number}", "caption", key, [name for name in row if name != "file_name"])
    if not isinstance(row, dict) or not {"file_name", key} <= row.keys():
        raise _malformed(path, number, line, key)
    name, caption = row["file_name"], row[key]
    if not isinstance(name, str) or not isinstance(caption, str):
        raise DatasetError(f"{path}:{number}: file_name and {key} must be strings, got {line[:80]!r}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DatasetError(f"{path}:{number}: {name!r} leaves the data folder; use a path inside it")
    return name, caption


def _malformed(path: Path, number: int, line: str, key: str) -> DatasetError:
    return DatasetError(f'{path}:{number}: expected {{"file_name": ..., "{key}": ...}}, got {line[:80]!r}')


def _from_text_files(folder: Path) -> dict[str, str]:
    captions, problems = {}, []
    for name in _picture_names(folder):
        beside = (folder / name).with_suffix(".txt")
        if not beside.is_file():
            problems.append(f"{name} (no {beside.name})")
        elif beside.stat().st_size > LARGEST_CAPTION:
            problems.append(f"{name} ({beside.name} has more than {LARGEST_CAPTION:,} bytes)")
        else:
            try:
                captions[name] = beside.read_text(encoding="utf-8-sig").strip()
            except UnicodeDecodeError as error:
                problems.append(f"{name} ({beside.name} is not UTF-8 at byte {error.start})")
    if problems:
        raise MissingCaptions(folder, problems)
    return captions


def _picture_names(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    for name in names:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DatasetError(f"{folder}: the file name {name!r} is not UTF-8; rename it")
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error

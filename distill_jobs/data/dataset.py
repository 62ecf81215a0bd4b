"""A folder of captioned pictures: metadata.jsonl of {"file_name", "text"}, or a .txt beside each picture."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from distill_jobs.errors import CorruptPictures, DatasetError, EmptyDataset, MissingCaptions

METADATA = "metadata.jsonl"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


@dataclass(frozen=True)
class Entry:
    """One captioned picture; `sha256` is of the file's bytes, `size` its width and height."""

    name: str
    caption: str
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Dataset:
    """Captioned pictures, sorted by name; `fingerprint` is a SHA-256 over names, contents and captions."""

    folder: Path
    entries: tuple[Entry, ...]
    fingerprint: str

    @property
    def captions(self) -> tuple[str, ...]:
        """The caption of each picture, in order."""
        return tuple(entry.caption for entry in self.entries)

    def pixels(self, start: int, stop: int, size: tuple[int, int]) -> Tensor:
        """Pictures start..stop as (count, 3, height, width) float32 in [-1, 1], scaled and cropped to `size` (h, w)."""
        height, width = size
        stacked = []
        for entry in self.entries[start:stop]:
            with Image.open(self.folder / entry.name) as picture:
                fitted = ImageOps.fit(ImageOps.exif_transpose(picture).convert("RGB"), (width, height))
            stacked.append(np.asarray(fitted, dtype=np.float32))
        return torch.from_numpy(np.stack(stacked)).permute(0, 3, 1, 2) / 127.5 - 1


def read_dataset(folder: Path) -> Dataset:
    """Read and check a whole data folder: every picture is decoded once, and every problem is named.

    Raises EmptyDataset, MissingCaptions, or CorruptPictures (all of them at once), never drops an entry.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder}: not a folder; expected a folder of captioned pictures")
    captions = _from_metadata(folder) if (folder / METADATA).exists() else _from_text_files(folder)
    if not captions:
        raise EmptyDataset(folder)
    entries, corrupt = [], []
    for name, caption in sorted(captions.items()):
        try:
            entries.append(Entry(name, caption, *_checked(folder / name)))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            corrupt.append(f"{name} ({_reason(error)})")
    if corrupt:
        raise CorruptPictures(folder, corrupt)
    return Dataset(folder, tuple(entries), _fingerprint(entries))


def _from_metadata(folder: Path) -> dict[str, str]:
    captions: dict[str, str] = {}
    problems = []
    for number, line in enumerate((folder / METADATA).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        name, caption = _metadata_row(folder / METADATA, number, line)
        if name in captions:
            raise DatasetError(f"{folder / METADATA}:{number}: {name} is listed twice; keep one line a picture")
        if not (folder / name).is_file():
            problems.append(f"{name} (listed in {METADATA}:{number}, no such file)")
        captions[name] = caption
    problems += [f"{name} (not in {METADATA})" for name in _picture_names(folder) if name not in captions]
    if problems:
        raise MissingCaptions(folder, problems)
    return captions


def _metadata_row(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        name, caption = row["file_name"], row["text"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f'{path}:{number}: expected {{"file_name": ..., "text": ...}}, got {line[:80]!r}') from error
    if not isinstance(name, str) or not isinstance(caption, str):
        raise DatasetError(f"{path}:{number}: file_name and text must be strings, got {line[:80]!r}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise DatasetError(f"{path}:{number}: {name!r} leaves the data folder; use a path inside it")
    return name, caption


def _from_text_files(folder: Path) -> dict[str, str]:
    names = _picture_names(folder)
    without = [f"{name} (no {Path(name).stem}.txt)" for name in names if not _text_file(folder / name).is_file()]
    if without:
        raise MissingCaptions(folder, without)
    return {name: _text_file(folder / name).read_text(encoding="utf-8").strip() for name in names}


def _picture_names(folder: Path) -> list[str]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _text_file(picture: Path) -> Path:
    return picture.with_suffix(".txt")


def _checked(path: Path) -> tuple[str, tuple[int, int]]:
    """The digest of the file, and the upright picture's size."""
    with Image.open(path) as picture:
        picture.load()
        size = ImageOps.exif_transpose(picture).size
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest(), size


def _reason(error: Exception) -> str:
    return "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)


def _fingerprint(entries: list[Entry]) -> str:
    rows = [[entry.name, entry.sha256, entry.caption] for entry in entries]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()

"""Captioned pictures, wherever they lie: read whole, checked, and known by a fingerprint of their content."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from distill_jobs.data.pictures import Undecodable, decoded
from distill_jobs.data.reading import Locator, Reading, Record, Source
from distill_jobs.data.sources import source_of
from distill_jobs.errors import CorruptPictures, DatasetError, EmptyDataset

NAME_DIGITS = 32
"""Of a picture's digest, which is its name where its source has none."""


@dataclass(frozen=True)
class Entry:
    """One captioned picture; `sha256` is of the packed bytes, `size` its width and height."""

    name: str
    caption: str
    sha256: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Dataset:
    """Captioned pictures, sorted by name; `fingerprint` is a SHA-256 over names, contents and captions.

    `left_out` names the corrupt pictures that were left out on request, with the reason of each.
    """

    kind: str
    title: str
    uri: str
    entries: tuple[Entry, ...]
    fingerprint: str
    left_out: tuple[str, ...] = ()
    revision: str | None = None
    license: str | None = None
    source: Source = field(kw_only=True, repr=False, compare=False)
    locators: tuple[Locator, ...] = field(kw_only=True, repr=False, compare=False)

    @property
    def captions(self) -> tuple[str, ...]:
        """The caption of each picture, in order."""
        return tuple(entry.caption for entry in self.entries)

    def pixels(self, start: int, stop: int, size: tuple[int, int]) -> Tensor:
        """Pictures start..stop as (count, 3, height, width) float32 in [-1, 1], scaled and cropped to `size` (h, w).

        Raises DatasetError where a picture is no longer the one that was read.
        """
        height, width = size
        stacked = []
        for entry, contents in zip(self.entries[start:stop], self._contents(start, stop), strict=True):
            if hashlib.sha256(contents).hexdigest() != entry.sha256:
                raise DatasetError(f"{self.uri}: {entry.name} changed since it was read; start again")
            fitted = ImageOps.fit(decoded(contents), (width, height))
            stacked.append(np.asarray(fitted, dtype=np.float32))
        return torch.from_numpy(np.stack(stacked)).permute(0, 3, 1, 2) / 127.5 - 1

    def _contents(self, start: int, stop: int) -> list[bytes]:
        try:
            return self.source.read(self.locators[start:stop])
        except (Undecodable, OSError) as error:
            raise DatasetError(f"{self.uri}: changed since it was read ({error}); start again") from error


@dataclass(frozen=True)
class Survey:
    """What reading a whole source brought: the pictures in it, sorted by name, and the corrupt ones with reasons."""

    entries: tuple[Entry, ...]
    locators: tuple[Locator, ...]
    corrupt: tuple[str, ...]


def read_dataset(where: Path | str, reading: Reading | None = None) -> Dataset:
    """Read and check a whole data set: every picture is decoded once, and every problem is named.

    `where` is a folder of pictures, a .parquet or .tar file, a folder of these, or a pattern of files with *, ?, **,
    {000..012} or {a,b}. Raises EmptyDataset, MissingCaptions, UnknownColumn, BrokenArchive, and CorruptPictures (all
    of them at once) unless `reading` says to leave these out; then `left_out` names them.
    """
    reading = reading or Reading()
    source = source_of(str(where), reading)
    surveyed = survey(source)
    if surveyed.corrupt and not reading.skip_corrupt:
        raise CorruptPictures(where, surveyed.corrupt)
    return dataset_of(source, surveyed)


def survey(source: Source) -> Survey:
    """Read and decode every picture of a source. Raises DatasetError and its kinds, but not CorruptPictures."""
    found: list[tuple[Record, str, tuple[int, int]]] = []
    corrupt = []
    for record, read in source.records():
        try:
            contents = read()
            found.append((record, hashlib.sha256(contents).hexdigest(), decoded(contents).size))
        except Undecodable as error:
            corrupt.append(f"{record.place} ({error})")
    names = _names([(record.name, digest, record.caption) for record, digest, _ in found])
    rows = [
        (Entry(name, record.caption, digest, size), record.locator)
        for name, (record, digest, size) in zip(names, found, strict=True)
    ]
    rows.sort(key=lambda row: row[0].name)
    return Survey(tuple(entry for entry, _ in rows), tuple(locator for _, locator in rows), tuple(corrupt))


def dataset_of(source: Source, surveyed: Survey) -> Dataset:
    """The pictures that a survey found, without the corrupt ones. Raises EmptyDataset."""
    if not surveyed.entries:
        raise EmptyDataset(source.uri)
    return Dataset(
        source.kind,
        source.title,
        source.uri,
        surveyed.entries,
        _fingerprint(surveyed.entries),
        surveyed.corrupt,
        source=source,
        locators=surveyed.locators,
    )


def _names(rows: Sequence[tuple[str | None, str, str]]) -> list[str]:
    """A name for every (name, digest, caption): its own where all have one and no two agree, else by content.

    By content a name is the picture's digest, counted on in the order of the captions where a picture comes again, so
    that names do not depend on the order of the rows.
    """
    own = [name for name, _, _ in rows if name is not None]
    if len(set(own)) == len(rows):
        return own
    names, seen = [""] * len(rows), Counter[str]()
    for place in sorted(range(len(rows)), key=lambda i: rows[i][1:]):
        short = rows[place][1][:NAME_DIGITS]
        seen[short] += 1
        names[place] = short if seen[short] == 1 else f"{short}-{seen[short]}"
    return names


def _fingerprint(entries: Sequence[Entry]) -> str:
    rows = [[entry.name, entry.sha256, entry.caption] for entry in entries]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()

"""Relinking: files that were moved are found again by what they hold, and their locations follow them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, select, update

from registry.blobs.locations import Location, location_of, move, uri_of
from registry.blobs.staging import FileStatus
from registry.database import Database
from registry.errors import NotFound
from registry.sources import is_unfinished
from registry.states import LocationMode
from registry.storage.orphans import PAGE, pages
from registry.tables import LocationRow
from registry.unit_of_work import UnitOfWork

BATCH = 20
"""Files that are found before it is written where they are: no more of them are lost when somebody interrupts."""

Lost = dict[int, dict[str, list[Location]]]
"""size -> sha256 -> the locations whose file is gone; those that a version depends on come first"""


@dataclass(frozen=True)
class Relinked:
    """What a relink found, or would change."""

    dry_run: bool
    moved: tuple[tuple[str, str], ...]
    """old path and new path"""
    missing: tuple[str, ...]
    """paths cataloged in place whose file was not found"""
    seen: int
    """files below the folder"""
    read: int
    """files of them that had to be hashed"""
    unreadable: tuple[str, ...] = ()
    """files and folders that could not be read"""


@dataclass(frozen=True)
class _Match:
    location: Location
    path: Path
    status: FileStatus


def relink(database: Database, folder: Path, *, dry_run: bool) -> Relinked:
    """Find the lost files below `folder` by size and sha256, and write where they are. Raises NotFound.

    Only files of a lost file's size are read, and of those none whose location is already known.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder.")
    search = _Search(database, _lost(database))
    moved = []
    for page in pages(search.below(folder.absolute()), BATCH):
        if not dry_run:
            with database.writing() as uow:
                for match in page:
                    _follow(uow, match)
                uow.commit()
        moved += [(match.location.uri, uri_of(match.path)) for match in page]
    left = tuple(search.unreadable)
    return Relinked(dry_run, tuple(moved), tuple(search.still_missing()), search.seen, search.read, left)


class _Search:
    """A walk that takes lost locations off its list as it finds their files."""

    def __init__(self, database: Database, lost: Lost) -> None:
        self.seen = self.read = 0
        self.unreadable: list[str] = []
        self._database = database
        self._lost = lost

    def below(self, folder: Path) -> Iterator[_Match]:
        """The lost files below `folder`."""
        for place, folders, names in os.walk(folder, onerror=lambda error: self._leave(error.filename, error)):
            folders.sort()
            for path in (Path(place, name) for name in sorted(names)):
                self.seen += 1
                try:
                    match = self._match(path)
                except OSError as error:
                    self._leave(path, error)
                else:
                    if match is not None:
                        yield match

    def still_missing(self) -> list[str]:
        """The in-place paths that were not found."""
        left = (place for same_size in self._lost.values() for same in same_size.values() for place in same)
        return sorted(place.uri for place in left if place.mode == LocationMode.IN_PLACE)

    def _leave(self, path: Path, error: OSError) -> None:
        self.unreadable.append(f"{path}: {error.strerror}")

    def _match(self, path: Path) -> _Match | None:
        if not path.is_file():
            return None
        status = FileStatus.of(path)
        wanted = self._lost.get(status.size)
        if not wanted or is_unfinished(path):
            return None
        sha256 = self._known(path, status) or self._hash(path, status)
        same = wanted.get(sha256 or "")
        return _Match(same.pop(0), path, status) if same else None

    def _known(self, path: Path, status: FileStatus) -> str | None:
        with self._database.reading() as uow:
            row = uow.session.scalar(select(LocationRow).where(LocationRow.uri == uri_of(path)))
            return row.blob_sha256 if row is not None and location_of(row).status == status else None

    def _hash(self, path: Path, status: FileStatus) -> str | None:
        """The sha256 of a file, None when it changes while it is read."""
        self.read += 1
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return sha256 if FileStatus.of(path) == status else None


def _lost(database: Database) -> Lost:
    """The locations outside the store whose file is gone or has another size; the table is read page by page."""
    lost: Lost = defaultdict(lambda: defaultdict(list))
    for location in outside_locations(database):
        if not location.path.is_file() or location.path.stat().st_size != location.status.size:
            same = lost[location.status.size][location.sha256]
            same.insert(0 if location.mode == LocationMode.IN_PLACE else len(same), location)
    return lost


def outside_locations(database: Database, *modes: LocationMode) -> Iterator[Location]:
    """Every location that is no stored one, or of these modes alone, page by page."""
    after = 0
    wanted = modes or (LocationMode.IN_PLACE, LocationMode.SOURCE)
    query = select(LocationRow).where(LocationRow.mode.in_(wanted)).order_by(LocationRow.id).limit(PAGE)
    while True:
        with database.reading() as uow:
            page = [location_of(row) for row in uow.session.scalars(query.where(LocationRow.id > after))]
        if not page:
            return
        yield from page
        after = page[-1].id


def _follow(uow: UnitOfWork, match: _Match) -> None:
    """Write the new path; where a scan has recorded it already, the old location goes and that one takes its part."""
    there = uow.session.scalar(select(LocationRow.id).where(LocationRow.uri == uri_of(match.path)))
    key = match.location.id
    if there is not None and there != key:
        uow.session.execute(delete(LocationRow).where(LocationRow.id == key))
        if match.location.mode == LocationMode.IN_PLACE:
            kept = update(LocationRow).where(LocationRow.id == there)
            uow.session.execute(kept.values(mode=LocationMode.IN_PLACE, blob_sha256=match.location.sha256))
        key = there
    move(uow, key, match.path, match.status)

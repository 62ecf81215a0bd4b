"""The consistency check: whether rows and bytes agree. It changes nothing, unless it is told to set rot aside."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import groupby

from sqlalchemy import exists, select, update

from registry.blobs.locations import Location, location_of, verified
from registry.blobs.store import PREFIXES, BlobStore, Found, key_of
from registry.database import Database
from registry.dialect import now
from registry.errors import CorruptBlob
from registry.states import BlobState, LocationMode
from registry.storage.orphans import PAGE
from registry.storage.relink import outside_locations
from registry.tables import ArtifactRow, BlobRow, LocationRow, VersionRow

LISTED = 1_000
"""How many problems a report lists; the others are counted."""

Progress = Callable[[int, int], None]
"""Called with the folders of blobs that were looked at and their number."""


class Wrong(StrEnum):
    """What can be wrong with a catalog's bytes."""

    WITHOUT_ROW = "bytes without row"
    WITHOUT_BYTES = "row without bytes"
    WRONG_SIZE = "wrong size"
    ROTTEN = "bit rot"
    UNREADABLE = "cannot be read"
    MOVED = "in-place file is gone"
    CHANGED = "in-place file was changed"
    STRANGE = "stranger in the store"


REMEDIES = {
    Wrong.WITHOUT_ROW: "tau gc removes it",
    Wrong.WITHOUT_BYTES: "import the original file again",
    Wrong.WRONG_SIZE: "import the original file again",
    Wrong.ROTTEN: "tau doctor --deep --set-aside, then import the original file again",
    Wrong.UNREADABLE: "look at the disk and at the permissions, then import the original file again",
    Wrong.MOVED: "tau relink FOLDER, where FOLDER is where it was moved to",
    Wrong.CHANGED: "import it as a new version, or put the original back",
    Wrong.STRANGE: "look at it and remove it by hand: it is not ours",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: what, with which bytes, and what was found and expected."""

    wrong: Wrong
    where: str
    detail: str

    @property
    def remedy(self) -> str:
        """What helps."""
        return REMEDIES[self.wrong]


@dataclass(frozen=True)
class Consistency:
    """What a check found."""

    deep: bool
    checked: int
    """places that were looked at"""
    counts: dict[str, int]
    """how many problems of each sort there are"""
    problems: tuple[Problem, ...]
    """the first of them"""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts


class Check:
    """One walk over the store and the rows at once, both in the order of the digests."""

    def __init__(
        self, database: Database, store: BlobStore, *, deep: bool, set_aside: bool, grace: float, progress: Progress
    ) -> None:
        self.checked = 0
        self._database, self._store = database, store
        self._deep, self._set_aside = deep, set_aside
        self._young = time.time() - grace
        self._progress = progress

    def run(self) -> Consistency:
        """Look at everything."""
        counts: Counter[str] = Counter()
        listed: list[Problem] = []
        for problem in self._problems():
            counts[problem.wrong] += 1
            if len(listed) < LISTED:
                listed.append(problem)
        return Consistency(self._deep, self.checked, dict(counts), tuple(listed))

    def _problems(self) -> Iterator[Problem]:
        yield from self._stored()
        yield from self._outside()
        yield from self._nowhere()

    def _stored(self) -> Iterator[Problem]:
        """Bytes and rows, side by side."""
        found = ((found.name, found) for found in self._store.listed())
        rows = ((place.sha256, place) for place in self._rows())
        for name, pair in groupby(merge(found, rows, key=lambda entry: entry[0]), key=lambda entry: entry[0]):
            things = [thing for _, thing in pair]
            self.checked += 1
            if name[:2] in PREFIXES:
                self._progress(PREFIXES.index(name[:2]) + 1, len(PREFIXES))
            yield from self._compare(
                next((thing for thing in things if isinstance(thing, Found)), None),
                next((thing for thing in things if isinstance(thing, Location)), None),
            )

    def _compare(self, found: Found | None, row: Location | None) -> Iterator[Problem]:
        if row is None and found is not None:
            yield from self._unnamed(found)
        elif row is not None and found is None:
            if self._is_still(row) and self._store.find(row.sha256) is None:
                yield Problem(Wrong.WITHOUT_BYTES, row.sha256, f"expected {row.status.size:,} bytes, got nothing")
        elif row is not None and found is not None:
            if found.size != row.status.size:
                detail = f"expected {row.status.size:,} bytes, got {found.size:,}"
                yield Problem(Wrong.WRONG_SIZE, row.sha256, detail)
            elif self._deep:
                yield from self._read(row)

    def _unnamed(self, found: Found) -> Iterator[Problem]:
        """Bytes that no row names; those that an import may be about to record are no problem yet."""
        if not found.is_blob:
            yield Problem(Wrong.STRANGE, found.name, f"{found.size:,} bytes under a name that is no sha256")
        elif found.modified <= self._young and not self._is_named(found.name):
            yield Problem(Wrong.WITHOUT_ROW, found.name, f"{found.size:,} bytes that nothing names")

    def _read(self, row: Location) -> Iterator[Problem]:
        seen = hashlib.sha256()
        try:
            for piece in self._store.read(row.sha256, 0, row.status.size):
                seen.update(piece)
        except CorruptBlob:
            if not self._is_still(row):
                return
            raise
        except OSError as error:
            yield Problem(Wrong.UNREADABLE, row.sha256, str(error.strerror))
            return
        if seen.hexdigest() == row.sha256:
            self._mark_checked(row)
            return
        where = f", set aside at {self._store.set_aside(row.sha256)}" if self._set_aside else ""
        yield Problem(Wrong.ROTTEN, row.sha256, f"its bytes have sha256 {seen.hexdigest()}{where}")

    def _outside(self) -> Iterator[Problem]:
        """Files that stay with their owner: by status, and by their bytes where that changed or in a deep check."""
        for place in outside_locations(self._database, LocationMode.IN_PLACE):
            self.checked += 1
            if not place.path.is_file():
                yield Problem(Wrong.MOVED, place.uri, f"expected a file with sha256 {place.sha256}")
                continue
            try:
                verified(self._database, place, deep=self._deep)
            except CorruptBlob as error:
                yield Problem(Wrong.CHANGED, place.uri, str(error))
            except OSError as error:
                yield Problem(Wrong.UNREADABLE, place.uri, str(error.strerror))

    def _nowhere(self) -> Iterator[Problem]:
        """Blobs that a living version needs and that lie nowhere, or are marked for deletion."""
        living = select(ArtifactRow.blob_sha256).join(VersionRow, VersionRow.id == ArtifactRow.version_id)
        living = living.where(VersionRow.removed_at.is_(None), ArtifactRow.blob_sha256 == BlobRow.sha256)
        lies = exists(
            select(1).where(LocationRow.blob_sha256 == BlobRow.sha256, LocationRow.mode != LocationMode.SOURCE)
        )
        lost = (BlobRow.state == BlobState.DELETING) | ~lies
        query = select(BlobRow.sha256).where(lost, exists(living.correlate(BlobRow))).order_by(BlobRow.sha256)
        after = ""
        while True:
            with self._database.reading() as uow:
                page = uow.session.scalars(query.where(BlobRow.sha256 > after).limit(PAGE)).all()
            if not page:
                return
            for sha256 in page:
                yield Problem(Wrong.WITHOUT_BYTES, sha256, "a version needs it, and it is recorded nowhere")
            after = page[-1]

    def _rows(self) -> Iterator[Location]:
        """What is recorded as stored, by digest."""
        own = LocationRow.mode == LocationMode.STORED
        query = select(LocationRow).where(own).order_by(LocationRow.blob_sha256).limit(PAGE)
        after = ""
        while True:
            with self._database.reading() as uow:
                rows = uow.session.scalars(query.where(LocationRow.blob_sha256 > after))
                page = [location_of(row) for row in rows]
            if not page:
                return
            yield from page
            after = page[-1].sha256

    def _is_still(self, row: Location) -> bool:
        """Whether the row is still there: garbage collection may have taken both meanwhile."""
        with self._database.reading() as uow:
            return uow.session.get(LocationRow, row.id) is not None

    def _is_named(self, sha256: str) -> bool:
        with self._database.reading() as uow:
            named = select(LocationRow.id).where(LocationRow.uri == key_of(sha256))
            return uow.session.scalar(named) is not None

    def _mark_checked(self, row: Location) -> None:
        with self._database.writing() as uow:
            uow.session.execute(update(LocationRow).where(LocationRow.id == row.id).values(checked_at=now()))
            uow.commit()

"""Garbage collection: bytes that nothing needs any more, deleted so that no import can lose what it relies on.

A blob is needed while a version or anything else names it; a removed version still does until `grace` is over. Blobs
are marked `deleting` under a lock, and that is committed; then, under the lock again, those that no import has touched
meanwhile lose their bytes and their rows. A kill at any moment leaves blobs marked, for the next run to finish. The
row of a blob that a tombstone names stays: what the content was is never forgotten.
"""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, update

from registry.blobs.store import BlobStore
from registry.database import Database
from registry.dialect import now
from registry.states import BlobState, LocationMode
from registry.storage.orphans import discard, find_orphans, pages
from registry.tables import (
    ArtifactRow,
    BlobHashRow,
    BlobRow,
    LocationRow,
    UploadRow,
    VersionRow,
)
from registry.tables.columns import Base
from registry.unit_of_work import UnitOfWork

BATCH = 200
"""Blobs whose bytes are deleted under one hold of the lock."""

OWN_TABLES = frozenset({"artifact", "blob_hash", "location"})
"""Tables that name a blob without needing it, and the artifacts, which need it as their version does."""


BLOB_KEY = Base.metadata.tables["blob"].c.sha256


@dataclass(frozen=True)
class Tally:
    """How many there were, and their bytes."""

    count: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, sizes: Iterable[int]) -> "Tally":
        """The tally of things of these sizes."""
        listed = list(sizes)
        return cls(len(listed), sum(listed))


@dataclass(frozen=True)
class Swept:
    """What garbage collection took away, or would take away."""

    dry_run: bool
    unreferenced: Tally
    """blobs that nothing needs any more"""
    without_row: Tally
    """stored bytes that no row names"""
    staging: Tally
    """what killed imports left"""
    uploads: Tally
    """uploads that were never completed"""
    folders: Tally
    """opened folders of versions that are gone"""
    copies: Tally
    """copies of a bucket's blobs that were not opened on this machine for a long time"""

    @property
    def bytes(self) -> int:
        """Everything that was, or would be, freed."""
        parts = (self.unreferenced, self.without_row, self.staging, self.uploads, self.folders, self.copies)
        return sum(part.bytes for part in parts)


def collect(database: Database, store: BlobStore, opened: Path, *, grace: float, dry_run: bool) -> Swept:
    """Take away what nothing needs and nothing has touched for `grace` seconds. With `dry_run`: only say what."""
    return Swept(
        dry_run,
        unreferenced=Tally.of(_unreferenced(database, store, grace, dry_run)),
        without_row=Tally.of(_orphans(database, store, grace, dry_run)),
        staging=Tally.of(store.staging.sweep(grace=grace, dry_run=dry_run)),
        uploads=Tally.of(_uploads(database, store, grace, dry_run)),
        folders=Tally.of(_folders(database, opened, grace, dry_run)),
        copies=Tally.of(store.evict(dry_run=dry_run)),
    )


def is_needed(grace: float) -> ColumnElement[bool]:
    """Whether something needs the blob of the surrounding query, or needed it less than `grace` seconds ago."""
    alive = or_(VersionRow.removed_at.is_(None), VersionRow.removed_at > now(-grace))
    by_version = select(1).select_from(ArtifactRow).join(VersionRow, VersionRow.id == ArtifactRow.version_id)
    return or_(
        func.coalesce(BlobRow.used_at, BlobRow.created_at) > now(-grace),
        exists(by_version.where(ArtifactRow.blob_sha256 == BlobRow.sha256, alive).correlate(BlobRow)),
        *_is_named(OWN_TABLES),
    )


def _is_named(apart_from: frozenset[str]) -> Iterator[ColumnElement[bool]]:
    """For each table with a foreign key to the blob, whether it names the blob of the surrounding query."""
    for table in Base.metadata.sorted_tables:
        for column in table.columns:
            if table.name not in apart_from and any(key.column is BLOB_KEY for key in column.foreign_keys):
                yield exists(select(1).select_from(table).where(column == BlobRow.sha256).correlate(BlobRow))


def _unreferenced(database: Database, store: BlobStore, grace: float, dry_run: bool) -> Iterator[int]:
    """The size of every blob that went."""
    unneeded = (BlobRow.state == BlobState.PRESENT, ~is_needed(grace))
    if dry_run:
        yield from (size for _, size in chain(_all(database, _half_deleted()), _all(database, select_blobs(*unneeded))))
        return
    for page in pages(_all(database, _half_deleted()), BATCH):
        yield from _delete(database, store, [sha256 for sha256, _ in page])
    for page in pages(_all(database, select_blobs(*unneeded)), BATCH):
        with database.writing() as uow:
            chosen = update(BlobRow).where(BlobRow.sha256.in_([sha256 for sha256, _ in page]), *unneeded)
            marked = uow.session.scalars(chosen.values(state=BlobState.DELETING).returning(BlobRow.sha256)).all()
            uow.commit()
        yield from _delete(database, store, marked)


def select_blobs(*conditions: ColumnElement[bool]) -> Select[str, int]:
    """Digest and size of the blobs that meet all conditions, by digest."""
    return select(BlobRow.sha256, BlobRow.size).where(*conditions).order_by(BlobRow.sha256)


def _half_deleted() -> Select[str, int]:
    """Blobs that were marked by a run that did not come to their bytes."""
    stored = exists(select(1).where(LocationRow.blob_sha256 == BlobRow.sha256, LocationRow.mode == LocationMode.STORED))
    return select_blobs(BlobRow.state == BlobState.DELETING, or_(stored, ~or_(*_is_named(OWN_TABLES - {"artifact"}))))


def _all(database: Database, query: Select[str, int]) -> Iterator[tuple[str, int]]:
    """The rows of a query by digest, page by page, so that no reading unit stays open between pages."""
    after = ""
    while True:
        with database.reading() as uow:
            page = uow.session.execute(query.where(BlobRow.sha256 > after).limit(BATCH)).all()
        if not page:
            return
        yield from ((sha256, size) for sha256, size in page)
        after = page[-1][0]


def _delete(database: Database, store: BlobStore, digests: Sequence[str]) -> list[int]:
    """Delete the bytes of marked blobs, except those that an import has taken back; the sizes of the others."""
    with database.writing() as uow:
        marked = select_blobs(BlobRow.sha256.in_(digests), BlobRow.state == BlobState.DELETING)
        sizes = dict(uow.session.execute(marked).all())
        store.remove(list(sizes))
        _forget(uow, list(sizes))
        uow.commit()
    return list(sizes.values())


def _forget(uow: UnitOfWork, digests: Sequence[str]) -> None:
    """Delete what is recorded of blobs; of those that a tombstone names, only that their bytes are here."""
    own = LocationRow.blob_sha256.in_(digests)
    uow.session.execute(delete(LocationRow).where(own, LocationRow.mode == LocationMode.STORED))
    named = select(BlobRow.sha256).where(BlobRow.sha256.in_(digests), or_(*_is_named(OWN_TABLES - {"artifact"})))
    kept = set(uow.session.scalars(named))
    gone = [sha256 for sha256 in digests if sha256 not in kept]
    uow.session.execute(delete(LocationRow).where(LocationRow.blob_sha256.in_(gone)))
    uow.session.execute(delete(BlobHashRow).where(BlobHashRow.blob_sha256.in_(gone)))
    uow.session.execute(delete(BlobRow).where(BlobRow.sha256.in_(gone)))


def _orphans(database: Database, store: BlobStore, grace: float, dry_run: bool) -> Iterator[int]:
    """The size of everything that was stored and never recorded, old enough that no import is about to record it."""
    latest = time.time() - grace
    loose = (found for found in find_orphans(database, store) if found.modified <= latest)
    for page in pages(loose, BATCH):
        sizes = {found.name: found.size for found in page}
        went = list(sizes) if dry_run else discard(database, store, list(sizes))
        yield from (sizes[sha256] for sha256 in went)


def _uploads(database: Database, store: BlobStore, grace: float, dry_run: bool) -> Iterator[int]:
    """The size of every upload whose time is over, and of pieces whose upload is not recorded."""
    latest = time.time() - grace
    for page in pages(store.uploads()):
        names = [found.name for found in page]
        with database.reading() as uow:
            known = select(UploadRow.id).where(UploadRow.id.in_(names), UploadRow.expires_at > now())
            alive = set(uow.session.scalars(known))
        for found in page:
            if found.name not in alive and found.modified <= latest:
                if not dry_run:
                    store.drop_parts(found.name)
                yield found.size
    if not dry_run:
        with database.writing() as uow:
            uow.session.execute(delete(UploadRow).where(UploadRow.expires_at <= now(-grace)))
            uow.commit()


def _folders(database: Database, opened: Path, grace: float, dry_run: bool) -> Iterator[int]:
    """The size of opened folders whose version is gone: links count as nothing, copies as their bytes."""
    if not opened.is_dir():
        return
    latest = time.time() - grace
    old = (Path(entry.path) for entry in os.scandir(opened) if entry.stat(follow_symlinks=False).st_mtime <= latest)
    for page in pages(old):
        with database.reading() as uow:
            alive = (VersionRow.digest.in_([path.name for path in page]), VersionRow.removed_at.is_(None))
            kept = set(uow.session.scalars(select(VersionRow.digest).where(*alive)))
        for path in page:
            if path.name not in kept:
                yield sum(file.lstat().st_size for file in path.rglob("*") if not file.is_symlink() and file.is_file())
                if not dry_run:
                    shutil.rmtree(path, ignore_errors=True)

"""Which files were imported from where, so that looking at an unchanged library again reads no file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from registry.blobs.locations import record_paths
from registry.blobs.staging import FileStatus
from registry.database import Database
from registry.states import LocationMode
from registry.tables import LocationRow

PATHS_A_QUERY = 500
OUTSIDE = (LocationMode.SOURCE, LocationMode.IN_PLACE)


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What a path held when it was last looked at, and when that was (None: not since it was moved here)."""

    sha256: str
    status: FileStatus
    checked_at: datetime | None
    mode: str


def known_files(database: Database, paths: Sequence[str]) -> dict[str, KnownFile]:
    """What is known of the files at these absolute paths."""
    columns = (
        LocationRow.uri,
        LocationRow.blob_sha256,
        LocationRow.size,
        LocationRow.mtime_ns,
        LocationRow.inode,
        LocationRow.checked_at,
        LocationRow.mode,
    )
    found: dict[str, KnownFile] = {}
    with database.reading() as uow:
        for start in range(0, len(paths), PATHS_A_QUERY):
            here = LocationRow.uri.in_(paths[start : start + PATHS_A_QUERY])
            query = select(*columns).where(here, LocationRow.mode.in_(OUTSIDE))
            for uri, sha256, size, mtime_ns, inode, checked_at, mode in uow.session.execute(query):
                found[uri] = KnownFile(sha256, FileStatus(size, mtime_ns, inode), checked_at, mode)
    return found


def remember(database: Database, files: Iterable[tuple[str, str, FileStatus]]) -> None:
    """Write that these bytes were found at paths: (path, sha256, status).

    A file that is cataloged in place stays that while it holds the bytes that it was cataloged with. Once it holds
    others, the version that relied on it has lost them, and the path is that of an import like any other.
    """
    wanted = {path: (sha256, status) for path, sha256, status in files}
    with database.writing() as uow:
        query = select(LocationRow.uri, LocationRow.blob_sha256).where(LocationRow.mode == LocationMode.IN_PLACE)
        in_place = dict(uow.session.execute(query.where(LocationRow.uri.in_(wanted))).all())
        for mode in OUTSIDE:
            seen = [
                (Path(path), sha256, status)
                for path, (sha256, status) in wanted.items()
                if (in_place.get(path) == sha256) is (mode == LocationMode.IN_PLACE)
            ]
            record_paths(uow, seen, mode)
        uow.commit()

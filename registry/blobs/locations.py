"""Where bytes lie outside the blob store: files that stay with their owner, and files that were imported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sqlalchemy import case, select, update

from formats.digests import digest
from registry.blobs.staging import FileStatus, StagedFile
from registry.database import Database
from registry.dialect import now, upsert_all
from registry.errors import CorruptBlob
from registry.states import LocationMode
from registry.tables import LocationRow
from registry.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Location:
    """One place of a blob's bytes, and the status that the file there had when it was last looked at."""

    id: int
    sha256: str
    uri: str
    status: FileStatus
    mode: LocationMode

    @property
    def path(self) -> Path:
        """The file, for the modes that name one."""
        return Path(self.uri)

    def is_unchanged(self) -> bool:
        """Whether the file is still the one that was looked at, by its status alone."""
        try:
            return FileStatus.of(self.path) == self.status
        except OSError:
            return False


def uri_of(path: Path) -> str:
    """How a location names a file: its absolute path, links kept."""
    return str(path.absolute())


def location_of(row: LocationRow) -> Location:
    """A row as a value."""
    status = FileStatus(row.size, row.mtime_ns, row.inode)
    return Location(row.id, row.blob_sha256, row.uri, status, LocationMode(row.mode))


def locations(uow: UnitOfWork, digests: Sequence[str]) -> dict[str, list[Location]]:
    """Where the bytes of these blobs can be read: the stored ones first, then in-place ones."""
    order = case({LocationMode.STORED: 0}, value=LocationRow.mode, else_=1)
    query = select(LocationRow).where(LocationRow.blob_sha256.in_(digests), LocationRow.mode != LocationMode.SOURCE)
    rows = uow.session.scalars(query.order_by(LocationRow.blob_sha256, order, LocationRow.id))
    return {sha256: [location_of(row) for row in own] for sha256, own in groupby(rows, lambda row: row.blob_sha256)}


def record_in_place(uow: UnitOfWork, files: Iterable[StagedFile]) -> None:
    """Remember where files lie that stay with their owner. A path that held other bytes before holds these now."""
    seen = [(file.path, file.digests.sha256, file.in_place) for file in files if file.in_place is not None]
    record_paths(uow, seen, LocationMode.IN_PLACE)


def record_paths(uow: UnitOfWork, seen: Iterable[tuple[Path, str, FileStatus]], mode: LocationMode) -> None:
    """Write what lies at paths now, as of a moment at which the bytes were read: (path, sha256, status)."""
    rows = [{"uri": uri_of(path), "blob_sha256": sha256, "mode": mode, **vars(status)} for path, sha256, status in seen]
    rows.sort(key=lambda row: str(row["uri"]))
    said = ("blob_sha256", "mode", "size", "mtime_ns", "inode")
    upsert_all(uow.session, LocationRow, rows, key=("uri",), update=said, stamp="checked_at")


def verified(database: Database, location: Location, *, deep: bool = False) -> Path:
    """The file of an in-place location, certain to hold the bytes: its status is known, or (always with `deep`) it is
    hashed again.

    Raises CorruptBlob where it is gone or holds other bytes.
    """
    if not deep and location.is_unchanged():
        return location.path
    if not location.path.is_file():
        raise CorruptBlob(
            f"{location.uri}: cataloged in place, but no file is there. "
            "Run `tau relink FOLDER` on the folder that it was moved to, or import it again."
        )
    status, found = FileStatus.of(location.path), digest(location.path).sha256
    if found != location.sha256:
        raise CorruptBlob(
            f"{location.uri}: cataloged in place with sha256 {location.sha256}, got {found}: the file was changed. "
            "Import it again as a new version, or put the original back."
        )
    with database.writing() as uow:
        move(uow, location.id, location.path, status)
        uow.commit()
    return location.path


def move(uow: UnitOfWork, key: int, path: Path, status: FileStatus) -> None:
    """Write that a location's bytes were read at `path` just now."""
    here = update(LocationRow).where(LocationRow.id == key)
    uow.session.execute(here.values(uri=uri_of(path), checked_at=now(), **vars(status)))

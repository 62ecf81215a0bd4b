"""What was imported from where before: the same name must bring the same bytes, the same path the same model."""

from dataclasses import dataclass

from sqlalchemy import func, select

from registry.database import Database
from registry.snapshots import snapshots
from registry.tables import BlobRow, OriginRow, VersionRow
from registry.values import Version

NEWEST = 100


def imported_from(database: Database, kind: str, uri: str) -> list[Version]:
    """The newest versions whose bytes came from `uri`, newest first."""
    query = select(OriginRow.version_id).where(OriginRow.uri == uri, OriginRow.kind == kind)
    with database.reading() as uow:
        ids = uow.session.scalars(query.order_by(OriginRow.version_id.desc()).limit(NEWEST)).all()
        return snapshots(uow, ids)


@dataclass(frozen=True)
class OtherDigests:
    """By what else than its sha256 the world knows a blob; the data section's survives an edit of the header."""

    blake3: str
    data_sha256: str | None


def other_digests(database: Database, sha256: str) -> OtherDigests | None:
    """The other digests of a blob, None where there is no such blob."""
    with database.reading() as uow:
        row = uow.session.get(BlobRow, sha256)
        return OtherDigests(row.blake3, row.data_sha256) if row else None


def newest_version(database: Database) -> int:
    """The id of the newest version, 0 where there is none."""
    with database.reading() as uow:
        return uow.session.scalar(select(func.max(VersionRow.id))) or 0

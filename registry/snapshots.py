"""Rows as the value objects that leave a unit of work."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import joinedload, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from registry.tables import ArtifactRow, OriginRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Artifact, Origin, Version


def whole_version() -> tuple[ORMOption, ...]:
    """Load options that bring everything a snapshot needs, in a fixed number of queries."""
    return (
        joinedload(VersionRow.model),
        selectinload(VersionRow.artifacts).joinedload(ArtifactRow.blob),
        selectinload(VersionRow.tags),
        selectinload(VersionRow.alias_periods),
        selectinload(VersionRow.facts),
        selectinload(VersionRow.origin),
    )


def snapshots(uow: UnitOfWork, ids: Sequence[int]) -> list[Version]:
    """The versions `ids`, in that order, as they are now."""
    query = select(VersionRow).where(VersionRow.id.in_(ids)).options(*whole_version())
    rows = uow.session.scalars(query.execution_options(populate_existing=True))
    found = {row.id: _snapshot(row) for row in rows}
    return [found[key] for key in ids]


def snapshot(uow: UnitOfWork, row: VersionRow) -> Version:
    """One version as it is now, with what this unit has written but not yet committed."""
    uow.session.flush()
    return snapshots(uow, [row.id])[0]


def _snapshot(row: VersionRow) -> Version:
    return Version(
        id=row.id,
        model=row.model.slug,
        number=row.number,
        digest=row.digest,
        state=row.state,
        kind=row.model.kind,
        title=row.model.title,
        description=row.model.description,
        license=row.model.license,
        author=row.author,
        note=row.note,
        created_at=row.created_at,
        tags={tag.key: tag.value for tag in row.tags},
        aliases=tuple(period.name for period in row.alias_periods),
        facts=row.facts.identification if row.facts else None,
        sampling=row.sampling,
        trigger_words=tuple(row.trigger_words),
        recommended_strength=row.recommended_strength,
        architecture=row.facts.architecture if row.facts else None,
        artifacts=tuple(_artifact(artifact) for artifact in row.artifacts),
        origin=_origin(row.origin) if row.origin else None,
    )


def _artifact(row: ArtifactRow) -> Artifact:
    return Artifact(row.role, row.path, row.blob_sha256, row.blob.size, row.media_type)


def _origin(row: OriginRow) -> Origin:
    return Origin(row.kind, row.uri, row.revision, row.embedded)

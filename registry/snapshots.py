"""Rows as the value objects that leave a unit of work.

They are read as plain columns, in a fixed number of queries: building mapped objects would take longer than the search.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, select

from registry.tables import (
    AdapterFactsRow,
    AliasPeriodRow,
    ArtifactRow,
    BlobRow,
    ModelRow,
    OriginRow,
    TagRow,
    VersionRow,
)
from registry.unit_of_work import UnitOfWork
from registry.values import Artifact, Origin, Version

FACTS = AdapterFactsRow.__table__.c
ORIGIN = OriginRow.__table__.c
VERSIONS: Select[*tuple[Any, ...]] = (
    select(
        *(VersionRow.id, VersionRow.number, VersionRow.digest, VersionRow.state, VersionRow.author, VersionRow.note),
        *(VersionRow.created_at, VersionRow.sampling, VersionRow.trigger_words, VersionRow.recommended_strength),
        *(VersionRow.recommended_low, VersionRow.recommended_high),
        *(ModelRow.slug, ModelRow.kind, ModelRow.title, ModelRow.description, ModelRow.license),
        *(ModelRow.license_flags, ModelRow.nsfw),
        *(AdapterFactsRow.identification, AdapterFactsRow.architecture),
        *(OriginRow.kind.label("came"), OriginRow.uri, OriginRow.revision, OriginRow.embedded),
    )
    .join(ModelRow, ModelRow.id == VersionRow.model_id)
    .outerjoin(AdapterFactsRow, FACTS.version_id == VersionRow.id)
    .outerjoin(OriginRow, ORIGIN.version_id == VersionRow.id)
)
TAGS = select(TagRow.version_id, TagRow.key, TagRow.value).order_by(TagRow.key)
ALIASES = select(AliasPeriodRow.version_id, AliasPeriodRow.name).where(AliasPeriodRow.until.is_(None))
ARTIFACTS = (
    select(
        *(ArtifactRow.version_id, ArtifactRow.role, ArtifactRow.path, ArtifactRow.blob_sha256),
        *(BlobRow.size, ArtifactRow.media_type),
    )
    .join(BlobRow, BlobRow.sha256 == ArtifactRow.blob_sha256)
    .order_by(ArtifactRow.path)
)


def snapshots(uow: UnitOfWork, ids: Sequence[int]) -> list[Version]:
    """The versions `ids`, in that order, as they are now."""
    if not ids:
        return []
    execute = uow.session.execute
    rows = {row.id: row for row in execute(VERSIONS.where(VersionRow.id.in_(ids)))}
    tags: dict[int, dict[str, str]] = defaultdict(dict)
    for version, key, value in execute(TAGS.where(TagRow.version_id.in_(ids))):
        tags[version][key] = value
    aliases: dict[int, list[str]] = defaultdict(list)
    for version, name in execute(ALIASES.where(AliasPeriodRow.version_id.in_(ids)).order_by(AliasPeriodRow.name)):
        aliases[version].append(name)
    artifacts: dict[int, list[Artifact]] = defaultdict(list)
    for version, role, path, sha256, size, media_type in execute(ARTIFACTS.where(ArtifactRow.version_id.in_(ids))):
        artifacts[version].append(Artifact(role, path, sha256, size, media_type))
    return [_version(rows[key], tags[key], tuple(aliases[key]), tuple(artifacts[key])) for key in ids]


def snapshot(uow: UnitOfWork, row: VersionRow) -> Version:
    """One version as it is now, with what this unit has written but not yet committed."""
    uow.session.flush()
    return snapshots(uow, [row.id])[0]


def _version(row: Row[Any], tags: dict[str, str], aliases: tuple[str, ...], artifacts: tuple[Artifact, ...]) -> Version:
    return Version(
        id=row.id,
        model=row.slug,
        number=row.number,
        digest=row.digest,
        state=row.state,
        kind=row.kind,
        title=row.title,
        description=row.description,
        license=row.license,
        author=row.author,
        note=row.note,
        created_at=row.created_at,
        tags=tags,
        aliases=aliases,
        facts=row.identification,
        sampling=row.sampling,
        trigger_words=tuple(row.trigger_words),
        recommended_strength=row.recommended_strength,
        architecture=row.architecture,
        artifacts=artifacts,
        origin=None if row.came is None else Origin(row.came, row.uri, row.revision, row.embedded),
        recommended_low=row.recommended_low,
        recommended_high=row.recommended_high,
        nsfw=row.nsfw,
        license_flags=row.license_flags,
    )

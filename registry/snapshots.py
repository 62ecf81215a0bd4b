"""Rows as the value objects that leave a unit of work.

They are read as plain columns by one statement that is built once, what hangs on a version as lists inside its row:
building mapped objects, and asking for their parts one after the other, would take longer than the search.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Label, ScalarSelect, Select, bindparam, func, select

from registry.dialect import json_rows
from registry.references import OFFERED_BY_NAME, parse_reference, resolve
from registry.states import State
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

MODEL, VERSION = ModelRow.__table__.c, VersionRow.__table__.c
FACTS, ORIGIN = AdapterFactsRow.__table__.c, OriginRow.__table__.c
TAG, ALIAS = TagRow.__table__.c, AliasPeriodRow.__table__.c
ARTIFACT, BLOB = ArtifactRow.__table__.c, BlobRow.__table__.c


def _listed(parts: Select[Any], name: str) -> Label[Any]:
    """A version's parts as one column of its row."""
    return parts.correlate(VersionRow.__table__).scalar_subquery().label(name)


TAGS = select(json_rows(TAG.key, TAG.value)).where(TAG.version_id == VERSION.id)
ALIASES = select(json_rows(ALIAS.name)).where(ALIAS.version_id == VERSION.id, ALIAS.until.is_(None))
FILES = (
    select(json_rows(ARTIFACT.path, ARTIFACT.role, ARTIFACT.blob_sha256, BLOB.size, ARTIFACT.media_type))
    .where(ARTIFACT.version_id == VERSION.id)
    .where(BLOB.sha256 == ARTIFACT.blob_sha256)
)
VERSIONS: Select[*tuple[Any, ...]] = (
    select(
        *(VERSION.id, VERSION.number, VERSION.digest, VERSION.state, VERSION.author, VERSION.note),
        *(VERSION.created_at, VERSION.sampling, VERSION.trigger_words, VERSION.recommended_strength),
        *(VERSION.recommended_low, VERSION.recommended_high),
        *(MODEL.slug, MODEL.kind, MODEL.title, MODEL.description, MODEL.license, MODEL.license_flags, MODEL.nsfw),
        *(FACTS.identification, FACTS.architecture),
        *(ORIGIN.kind.label("came"), ORIGIN.uri, ORIGIN.revision, ORIGIN.embedded),
        *(_listed(TAGS, "tags"), _listed(ALIASES, "aliases"), _listed(FILES, "files")),
    )
    .select_from(VersionRow.__table__)
    .join(ModelRow.__table__, MODEL.id == VERSION.model_id)
    .outerjoin(AdapterFactsRow.__table__, FACTS.version_id == VERSION.id)
    .outerjoin(OriginRow.__table__, ORIGIN.version_id == VERSION.id)
)


def _newest(state: State) -> ScalarSelect[int]:
    """The number of a model's newest version of that state."""
    own = VersionRow.__table__.alias()
    there = (own.c.model_id == MODEL.id, own.c.state == state, own.c.removed_at.is_(None))
    newest = select(own.c.number).where(*there).order_by(own.c.number.desc()).limit(1)
    return newest.correlate(ModelRow.__table__).scalar_subquery()


SEVERAL = VERSIONS.where(VERSION.id.in_(bindparam("ids", expanding=True)))
NAMED = VERSIONS.where(MODEL.slug == bindparam("model"), VERSION.removed_at.is_(None))
OFFERED = NAMED.where(VERSION.number == func.coalesce(*map(_newest, OFFERED_BY_NAME)))
NUMBERED = NAMED.where(VERSION.number == bindparam("number"))
ALIASED = NAMED.join(AliasPeriodRow.__table__, ALIAS.version_id == VERSION.id).where(
    ALIAS.model_id == MODEL.id, ALIAS.name == bindparam("alias"), ALIAS.until.is_(None)
)


def find(uow: UnitOfWork, text: str) -> Version:
    """The version that `text` means now, in one query unless it is a digest; raises what `resolve` raises."""
    said = parse_reference(text)
    if said.digest is None:
        query = NUMBERED if said.number is not None else ALIASED if said.alias is not None else OFFERED
        names = {"model": said.model, "number": said.number, "alias": said.alias}
        if row := uow.session.connection().execute(query, names).one_or_none():
            return _version(row)
    return snapshot(uow, resolve(uow, text))


def snapshots(uow: UnitOfWork, ids: Sequence[int]) -> list[Version]:
    """The versions `ids`, in that order, as they are now, with what this unit has written but not yet committed."""
    if not ids:
        return []
    uow.session.flush()
    rows = {row.id: row for row in uow.session.connection().execute(SEVERAL, {"ids": ids})}
    return [_version(rows[key]) for key in ids]


def snapshot(uow: UnitOfWork, row: VersionRow) -> Version:
    """One version as it is now."""
    uow.session.flush()
    return snapshots(uow, [row.id])[0]


def _version(row: Sequence[Any]) -> Version:
    (key, number, digest, state, author, note, created_at, sampling, trigger_words, strength, low, high, *more) = row
    (slug, kind, title, description, license, license_flags, nsfw, identification, architecture, *more) = more
    (came, uri, revision, embedded, tags, aliases, files) = more
    return Version(
        id=key,
        model=slug,
        number=number,
        digest=digest,
        state=state,
        kind=kind,
        title=title,
        description=description,
        license=license,
        author=author,
        note=note,
        created_at=created_at,
        tags=dict(sorted(tags)),
        aliases=tuple(sorted(name for (name,) in aliases)),
        facts=identification,
        sampling=sampling,
        trigger_words=tuple(trigger_words),
        recommended_strength=strength,
        architecture=architecture,
        artifacts=tuple(
            Artifact(role, path, sha256, size, media_type) for path, role, sha256, size, media_type in sorted(files)
        ),
        origin=None if came is None else Origin(came, uri, revision, embedded),
        recommended_low=low,
        recommended_high=high,
        nsfw=nsfw,
        license_flags=license_flags,
    )

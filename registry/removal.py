"""Removing versions and bringing them back. A removed one keeps its row and number, as a tombstone that is hidden."""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import select

from registry.blobs.locations import locations
from registry.blobs.store import BlobStore
from registry.blobs.stored import place_blobs, record_blobs, record_stored, sent
from registry.database import Database
from registry.dialect import now
from registry.errors import Conflict, CorruptBlob, Refused
from registry.history import record
from registry.intake import digest_of, stage
from registry.references import find_removed, resolve
from registry.sources import open_source
from registry.states import BlobState, LocationMode
from registry.tables import EdgeRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Relation

NAMED = 3
"""How many of the versions that stand in the way an error names."""


def remove_all(uow: UnitOfWork, refs: Iterable[str]) -> list[int]:
    """Hide versions for good, their numbers and history kept; garbage collection takes their bytes after its grace.
    The ids of what was removed, the newest first.

    Raises Conflict where an alias means one of them or a version that stays was made from it.
    """
    versions = {row.id: row for row in (resolve(uow, ref) for ref in refs)}
    waiting = [versions[key] for key in sorted(versions, reverse=True)]
    while waiting:
        held = [version for version in waiting if not _remove(uow, version)]
        if len(held) == len(waiting):
            raise _in_use(uow, held[0])
        waiting = held
    return sorted(versions, reverse=True)


def _remove(uow: UnitOfWork, version: VersionRow) -> bool:
    """Hide a version; False where another one that came from it must go first."""
    if aliases := [f"{version.model.slug}@{period.name}" for period in version.alias_periods]:
        name, alias = f"{version.model.slug}:{version.number}", version.alias_periods[0].name
        raise Conflict(
            f"{name} is what {' and '.join(aliases)} means. Point the alias at another version first, "
            f"or take it away: tau alias {name} --as {alias} --remove"
        )
    if _made_from(uow, version):
        return False
    version.removed_at, version.removed_by = now(), uow.actor
    uow.session.flush()
    record(uow, "removed", version, before={"state": version.state})
    return True


def _in_use(uow: UnitOfWork, version: VersionRow) -> Conflict:
    children = _made_from(uow, version)
    named = f"{', '.join(children[:NAMED])}{'' if len(children) <= NAMED else ' and others'}"
    return Conflict(f"{version.model.slug}:{version.number}: {named} came from it. Remove what came from it first.")


def restore(database: Database, store: BlobStore, ref: str, source: Path | None) -> int:
    """Bring a removed version back, with the bytes of `source` where its own are gone; its id.

    Raises NotFound, CorruptBlob where bytes are gone, and Refused where `source` holds other ones.
    """
    with database.reading() as uow:
        version = find_removed(uow, ref)
        key, digest = version.id, version.digest
    if source is None:
        with database.writing() as uow:
            _take_back_bytes(uow, store, uow.session.get_one(VersionRow, key))
            _bring_back(uow, key)
            uow.commit()
        return key
    with store.staging.open() as folder:
        files = stage(open_source(source), folder)
        if digest_of(files) != digest:
            raise Refused(f"{source}: holds sha256:{digest_of(files)}, expected sha256:{digest}, the content of {ref}.")
        staged = [file for _, file in files]
        with sent(database, store, staged), database.writing() as uow:
            record_blobs(uow, staged)
            _bring_back(uow, key)
            place_blobs(uow, store, staged)
            uow.commit()
    return key


def _made_from(uow: UnitOfWork, version: VersionRow) -> list[str]:
    """The versions that came from this one; a successor did not."""
    edges = select(EdgeRow.child_id).where(EdgeRow.parent_id == version.id, EdgeRow.relation != Relation.SUPERSEDES)
    children = select(ModelRow.slug, VersionRow.number).join(VersionRow, VersionRow.model_id == ModelRow.id)
    living = children.where(VersionRow.id.in_(edges), VersionRow.removed_at.is_(None))
    rows = uow.session.execute(living.order_by(VersionRow.id).limit(NAMED + 1))
    return [f"{slug}:{number}" for slug, number in rows]


def _removed_parent(uow: UnitOfWork, version: VersionRow) -> VersionRow | None:
    edges = select(EdgeRow.parent_id).where(EdgeRow.child_id == version.id, EdgeRow.relation != Relation.SUPERSEDES)
    removed = select(VersionRow).where(VersionRow.id.in_(edges), VersionRow.removed_at.is_not(None))
    return uow.session.scalar(removed.order_by(VersionRow.id).limit(1))


def _bring_back(uow: UnitOfWork, key: int) -> None:
    version = uow.session.get_one(VersionRow, key)
    if version.removed_at is None:
        return
    if (parent := _removed_parent(uow, version)) is not None:
        child, above = (f"{row.model.slug}:{row.number}" for row in (version, parent))
        raise Conflict(f"{child} came from {above}, which is removed. First: tau restore {above}")
    before = {"removed_by": version.removed_by}
    version.removed_at = version.removed_by = None
    uow.session.flush()
    record(uow, "restored", version, before=before, after={"state": version.state})


def _take_back_bytes(uow: UnitOfWork, store: BlobStore, version: VersionRow) -> None:
    """Mark the version's blobs as present again. Raises CorruptBlob where the bytes of one are gone."""
    places = locations(uow, [artifact.blob_sha256 for artifact in version.artifacts])
    for artifact in version.artifacts:
        blob, sha256 = artifact.blob, artifact.blob_sha256
        found = store.find(sha256)
        if found is not None and found.size == blob.size:
            record_stored(uow, store, [sha256])
        elif not any(p.mode == LocationMode.IN_PLACE and p.path.is_file() for p in places.get(sha256, ())):
            ref = f"{version.model.slug}:{version.number}"
            raise CorruptBlob(
                f"{ref}: the bytes of {artifact.path} (sha256 {sha256}) are gone. "
                f"Bring them from the original: tau restore {ref} --from FILE"
            )
        blob.state, blob.used_at = BlobState.PRESENT, now()
    uow.session.flush()

"""Looking again: a LoRA often arrives before its base, and is identified once the modules of that base are known.

Files are read without any lock, headers first, so that what stays unknown costs little; what was found is written in
batches, each in a transaction of its own. Whoever runs it again, or goes on after a kill, finds what is left to do.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from formats.adapter_files import weights_in
from formats.architecture import Architecture, all_architectures, known_architectures
from formats.digests import digest
from formats.errors import FormatError
from formats.findings import UNKNOWN
from formats.identification import identify
from registry.blobs.filesystem import safe_relative_path
from registry.blobs.locations import Location, locations, verified
from registry.blobs.materialised import version_folder
from registry.blobs.store import BlobStore
from registry.blobs.stored import blob_paths
from registry.database import Database
from registry.errors import RegistryError
from registry.facts import BASE, VECTOR, Facts, with_digests
from registry.recorded_facts import IDENTIFIED, correct_facts
from registry.search.search import architecture_rows
from registry.snapshots import snapshots
from registry.sources import SAFETENSORS
from registry.states import LocationMode
from registry.tables import AdapterFactsRow, EventRow, VersionRow
from registry.values import Artifact, Version

BATCH = 50
"""Versions that are looked at before what was found of them is written."""

SMALL = 1 << 20
"""Bytes of a file beside the weights that are read: a configuration has fewer."""

LOGGER = logging.getLogger(__name__)
LENGTH = 8
"""Bytes before the header of a safetensors file, which say how long it is."""


@dataclass(frozen=True)
class SecondLook:
    """The versions that were identified, and those whose bytes could not be read: reference and reason."""

    identified: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def registered_architectures(database: Database) -> list[Architecture]:
    """The module tables of imported bases that no shipped table covers."""
    with database.reading() as uow:
        return [Architecture.from_json(row.modules) for row in architecture_rows(uow)]


def catch_up(database: Database, store: BlobStore, known: Sequence[Architecture], added: Iterable[Facts]) -> SecondLook:
    """Identify again what may be explained now that `added` is registered, which was compared with `known`.

    That is so after a base of a family of its own, also where it was there before: the look that it brought about may
    have been broken off. And after a vector that nothing explained, where such a base came while it was read.
    """
    facts = list(added)
    shipped = set(known_architectures())
    is_explained = any(one.kind == BASE and one.family not in shipped for one in facts)
    if not is_explained and not any(one.kind == VECTOR and one.family == UNKNOWN for one in facts):
        return SecondLook()
    registered = registered_architectures(database)
    if not is_explained and len(registered) == len(known):
        return SecondLook()
    look = identify_again(database, store, registered)
    for ref, reason in look.left:
        LOGGER.warning("%s could not be identified again: %s", ref, reason)
    return look


def identify_again(database: Database, store: BlobStore, registered: Sequence[Architecture]) -> SecondLook:
    """Identify the vectors whose family is unknown by the tables that are known now."""
    identified: list[str] = []
    left: list[tuple[str, str]] = []
    after = 0
    while page := _unknown(database, after):
        found: dict[int, Facts] = {}
        for version in page:
            try:
                facts = _look(database, store, version, registered)
            except (FormatError, RegistryError, OSError) as error:
                left.append((version.ref, str(error)))
            else:
                found |= {} if facts is None else {version.id: facts}
        identified += _write(database, found)
        after = page[-1].id
    return SecondLook(tuple(identified), tuple(left))


def last_event(database: Database) -> int:
    """The id of the newest event, 0 where there is none."""
    with database.reading() as uow:
        return uow.session.scalar(select(func.max(EventRow.id))) or 0


def identified_since(database: Database, event: int) -> tuple[str, ...]:
    """The versions that were identified again after that event."""
    with database.reading() as uow:
        query = select(EventRow.subject).where(EventRow.id > event, EventRow.action == IDENTIFIED)
        return tuple(dict.fromkeys(uow.session.scalars(query.order_by(EventRow.id))))


def _unknown(database: Database, after: int) -> list[Version]:
    """The next vectors of an unknown family, by age."""
    query = select(VersionRow.id).join(AdapterFactsRow, AdapterFactsRow.version_id == VersionRow.id)
    query = query.where(AdapterFactsRow.kind == VECTOR, AdapterFactsRow.family == UNKNOWN)
    query = query.where(VersionRow.removed_at.is_(None), VersionRow.id > after).order_by(VersionRow.id).limit(BATCH)
    with database.reading() as uow:
        return snapshots(uow, uow.session.scalars(query).all())


def _look(database: Database, store: BlobStore, version: Version, registered: Sequence[Architecture]) -> Facts | None:
    """What a version is by these tables, None where its family stays unknown: then its header alone is read."""
    tables = all_architectures(registered)
    with store.staging.open() as folder:
        outline = _opened(version, _outline(database, store, version, folder / "outline"))
        if identify(outline, architectures=tables, hashes=False).family.value == UNKNOWN:
            return None
        path = _opened(version, version_folder(version, partial(blob_paths, database, store), folder / "whole"))
        found = identify(path, architectures=tables, hashes=False)
        weights = weights_in(path) if path.is_dir() else path
        facts = Facts(found.to_json(), found.kind, found.architecture)
        return with_digests(facts, weights, digest(weights), registered, None)


def _opened(version: Version, folder: Path) -> Path:
    """What of a version's folder is identified: its only file, or the folder."""
    return folder / version.artifacts[0].path if len(version.artifacts) == 1 else folder


def _outline(database: Database, store: BlobStore, version: Version, folder: Path) -> Path:
    """A folder like the version's, its weights being headers with holes behind them."""
    with database.reading() as uow:
        places = locations(uow, [artifact.sha256 for artifact in version.artifacts])
    for artifact in version.artifacts:
        target = folder / safe_relative_path(artifact.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(_beginning(database, store, artifact, places.get(artifact.sha256, [])))
        os.truncate(target, artifact.size)
    return folder


def _beginning(database: Database, store: BlobStore, artifact: Artifact, places: Sequence[Location]) -> bytes:
    """The header of a safetensors file; of another file its first bytes."""
    outside = next((place for place in places if place.mode == LocationMode.IN_PLACE), None)
    is_stored = any(place.mode == LocationMode.STORED for place in places)
    if outside is not None and not is_stored:
        with verified(database, outside).open("rb") as file:
            length = file.read(LENGTH)
            file.seek(0)
            return file.read(_stop(artifact, length))
    length = b"".join(store.read(artifact.sha256, 0, min(LENGTH, artifact.size)))
    return b"".join(store.read(artifact.sha256, 0, _stop(artifact, length)))


def _stop(artifact: Artifact, length: bytes) -> int:
    header = LENGTH + int.from_bytes(length, "little")
    return min(artifact.size, header if artifact.path.endswith(SAFETENSORS) else SMALL)


def _write(database: Database, found: dict[int, Facts]) -> list[str]:
    """Record what was found, unless somebody else has meanwhile; the references of what changed."""
    if not found:
        return []
    with database.writing() as uow:
        rows = [uow.session.get_one(VersionRow, key) for key in found]
        changed = [f"{row.model.slug}:{row.number}" for row in rows if correct_facts(uow, row, found[row.id])]
        uow.commit()
    return changed

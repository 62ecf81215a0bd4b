"""Registering content: look at it, stage it, then write its rows and place its bytes in one transaction."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from formats.architecture import Architecture
from formats.header import Header
from registry.blobs import BlobStore, StagedFile, stage_file
from registry.catalog import Content, StagedFiles, register
from registry.database import Database
from registry.errors import Refused
from registry.facts import Facts, find_facts
from registry.jobs.fencing import hold
from registry.jobs.finishing import finish_held
from registry.jobs.lease import Lease
from registry.lineage import JOB, link
from registry.search import architecture_rows
from registry.snapshots import snapshot
from registry.sources import Source, open_source
from registry.stored import place_blobs, record_blobs
from registry.submission import Submission
from registry.tables import JobRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Origin, Parent, Relation, Version


def add(
    database: Database,
    store: BlobStore,
    path: Path,
    said: Submission,
    *,
    lease: Lease | None = None,
    result: dict[str, Any] | None = None,
) -> Version:
    """Register a file or folder. Whatever goes wrong, no row and no blob of it is left.

    With `lease` the rows are written only while that lease is held, with an edge to its job; with `result` as well,
    the job is finished in the same transaction, its result being `result` and the version.
    """
    source = open_source(path)
    headers = source.headers()
    facts = find_facts(source, said.kind, said.name, registered_architectures(database))
    with store.staging() as folder:
        files = _stage(source, folder)
        staged = [file for _, file in files]
        _require_unchanged(source, facts, staged)
        content = Content(digest_of(files), files, facts, _origin(source, said, lease, headers), source.left_out)
        with database.writing() as uow:
            job = hold(uow, lease) if lease else None
            record_blobs(uow, staged)
            row = register(uow, said, content)
            version = snapshot(uow, row)
            if job is not None:
                _conclude(uow, row, job, version, result)
            place_blobs(uow, store, staged)
            uow.commit()
    return version


def registered_architectures(database: Database) -> list[Architecture]:
    """The module tables of imported bases that no shipped table covers."""
    with database.reading() as uow:
        return [Architecture.from_json(row.modules) for row in architecture_rows(uow)]


def digest_of(files: StagedFiles) -> str:
    """sha256 over the sorted lines `path NUL sha256 LF`: what makes two versions the same content."""
    lines = sorted(f"{file.path}\0{staged.digests.sha256}\n" for file, staged in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _stage(source: Source, folder: Path) -> StagedFiles:
    return [(file, stage_file(file.source, folder / file.path)) for file in source.files]


def _require_unchanged(source: Source, facts: Facts | None, staged: Sequence[StagedFile]) -> None:
    """What was identified is what was copied."""
    if facts and facts.sha256 and facts.sha256 not in {file.digests.sha256 for file in staged}:
        raise Refused(f"{source.path}: changed while it was read. Wait until it is complete, then import it again.")


def _origin(source: Source, said: Submission, lease: Lease | None, headers: Mapping[str, Header]) -> Origin:
    """Where the caller says it came from; else the job, else the path. The files' own metadata goes with it."""
    by_default = Origin("job", lease.job.ref) if lease else Origin("file", str(source.path.absolute()))
    embedded = {path: dict(header.metadata) for path, header in headers.items() if header.metadata}
    return replace(said.origin or by_default, embedded=embedded)


def _conclude(uow: UnitOfWork, row: VersionRow, job: JobRow, version: Version, result: dict[str, Any] | None) -> None:
    link(uow, row, Parent(f"{JOB}{job.id}", Relation.PRODUCED_BY))
    if result is not None:
        finish_held(uow, job, {**result, "version": version.ref})

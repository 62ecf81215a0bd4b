"""Registering content: look at it, stage it, then write its rows and place its bytes in one transaction."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from formats.adapter_files import open_adapter
from formats.architecture import Architecture
from formats.findings import Identification
from formats.header import Header
from registry.blobs.locations import record_in_place
from registry.blobs.staging import FileStatus, StagedFile, stage_file, stage_in_place
from registry.blobs.store import BlobStore
from registry.blobs.stored import place_blobs, record_blobs, sent
from registry.catalog import Content, StagedFiles, register
from registry.database import Database
from registry.errors import Refused
from registry.facts import OPAQUE, VECTOR, Facts, find_facts, with_digests
from registry.jobs.fencing import hold
from registry.jobs.finishing import finish_held
from registry.jobs.lease import Lease
from registry.lineage import JOB, link
from registry.reidentification import catch_up, registered_architectures
from registry.snapshots import snapshot
from registry.sources import Source, SourceFile, open_source, quarantined
from registry.submission import Submission
from registry.tables import JobRow, OriginRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Origin, Parent, Relation, Version


def add(
    database: Database,
    store: BlobStore,
    path: Path,
    said: Submission,
    *,
    in_place: bool = False,
    lease: Lease | None = None,
    result: dict[str, Any] | None = None,
) -> Version:
    """Register a file or folder. Whatever goes wrong, no row and no blob of it is left.

    With `in_place` nothing is copied: the files are hashed, and where they lie is recorded. With `lease` the rows are
    written only while that lease is held, with an edge to its job; with `result` as well, the job is finished in the
    same transaction, its result being `result` and the version. What a new base explains is identified again after it.
    """
    with store.staging.open() as folder:
        known = registered_architectures(database)
        content = read_content(path, said, known, None if in_place else folder, lease)
        staged = content.staged
        with sent(database, store, staged), database.writing() as uow:
            job = hold(uow, lease) if lease else None
            record_blobs(uow, staged)
            row = register(uow, said if said.is_named else _known_name(uow, said, content), content)
            version = replace(snapshot(uow, row), left_out=content.named_left_out)
            if job is not None:
                _conclude(uow, row, job, version, result)
            record_in_place(uow, staged)
            place_blobs(uow, store, [file for file in staged if file.in_place is None])
            uow.commit()
        if content.facts is not None:
            catch_up(database, store, known, [content.facts])
    return version


def read_content(
    path: Path,
    said: Submission,
    known: Iterable[Architecture],
    folder: Path | None,
    lease: Lease | None = None,
    found: Identification | None = None,
    prefix: str = "",
) -> Content:
    """Identify and hash what lies at `path`: a copy of it in `folder`, or, without one, the files where they lie.

    `found` is what was identified already, by a caller who makes sure that the files have not changed since; `prefix`
    begins the names of the copies.
    """
    source = open_source(path)
    before = _statuses(source)
    facts = find_facts(source, said.kind, said.name, known, found)
    if facts is not None and facts.kind == OPAQUE:
        source = quarantined(source)
    headers = source.headers()
    files = stage(source, folder, headers, prefix)
    if _statuses(source) != before:
        raise Refused(f"{source.path}: changed while it was read. Wait until it is complete, then import it again.")
    if facts and (weights := _weights(source, files, facts)):
        file, staged = weights
        header = replace(headers[file.path], path=staged.path) if file.path in headers else None
        facts = with_digests(facts, staged.path, staged.digests, known, header)
    return Content(digest_of(files), files, facts, _origin(source, said, lease, headers), source.left_out)


def _known_name(uow: UnitOfWork, said: Submission, content: Content) -> Submission:
    """The submission under the name that its content from there has now: a model that was renamed stays one model."""
    came = (OriginRow.uri == content.origin.uri, OriginRow.kind == content.origin.kind)
    same = select(VersionRow).join(OriginRow).where(VersionRow.digest == content.digest, *came)
    row = uow.session.scalar(same.order_by(VersionRow.removed_at.is_not(None), VersionRow.id).limit(1))
    return said if row is None else replace(said, name=row.model.slug)


def digest_of(files: StagedFiles) -> str:
    """sha256 over the sorted lines `path NUL sha256 LF`: what makes two versions the same content."""
    lines = sorted(f"{file.path}\0{staged.digests.sha256}\n" for file, staged in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def stage(
    source: Source, folder: Path | None, headers: Mapping[str, Header] | None = None, prefix: str = ""
) -> StagedFiles:
    """Every file hashed: a copy of it in `folder`, or where it lies. `headers` are those that were read already."""
    read = headers or {}
    if folder is None:
        return [(file, stage_in_place(file.source, read.get(file.path))) for file in source.files]
    return [
        (file, stage_file(file.source, folder / f"{prefix}{file.path}", read.get(file.path))) for file in source.files
    ]


def _weights(source: Source, files: StagedFiles, facts: Facts) -> tuple[SourceFile, StagedFile] | None:
    """The staged weight file that was identified: the only file, or the one that an adapter's folder is opened from."""
    if source.path.is_file():
        return files[0]
    if facts.kind != VECTOR:
        return None
    name = open_adapter(source.path).path.name
    return next(((file, staged) for file, staged in files if file.path == name), None)


def _statuses(source: Source) -> dict[Path, FileStatus]:
    """By what is told whether the files that were identified are those that were copied."""
    return {file.source: FileStatus.of(file.source) for file in source.files}


def _origin(source: Source, said: Submission, lease: Lease | None, headers: Mapping[str, Header]) -> Origin:
    """Where the caller says it came from; else the job, else the path. The files' own metadata goes with it."""
    by_default = Origin("job", lease.job.ref) if lease else Origin("file", str(source.path.absolute()))
    embedded = {path: dict(header.metadata) for path, header in headers.items() if header.metadata}
    return replace(said.origin or by_default, embedded=embedded)


def _conclude(uow: UnitOfWork, row: VersionRow, job: JobRow, version: Version, result: dict[str, Any] | None) -> None:
    link(uow, row, Parent(f"{JOB}{job.id}", Relation.PRODUCED_BY))
    if result is not None:
        finish_held(uow, job, {**result, "version": version.ref})

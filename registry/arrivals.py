"""Registering many things at once: each is identified and hashed on its own, all are recorded in one transaction.

What arrives has no name that somebody chose. The same content is the version that is there, whatever it is called; a
path that brought something before brings the next version of the same model; anything else gets a name that is free.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from formats.architecture import Architecture
from formats.errors import FormatError
from formats.findings import Identification
from registry.blobs.locations import record_in_place
from registry.blobs.staging import FileStatus
from registry.blobs.store import BlobStore
from registry.blobs.stored import place_blobs, record_blobs, sent
from registry.catalog import Content, keep_statements, register
from registry.database import Database
from registry.errors import Refused, RegistryError
from registry.intake import read_content
from registry.names import slug_of
from registry.recorded_facts import correct_facts
from registry.references import find_model
from registry.reidentification import catch_up, registered_architectures
from registry.submission import Submission
from registry.tables import ArtifactRow, OriginRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import LeftOut, Origin

LONGEST_NAME = 128

READERS = 4
"""Arrivals that are read and copied together; hashing and disks do not wait for each other then."""

T = TypeVar("T")
Holding = dict[str, list[VersionRow]]
"""Digest of a content -> the versions that have it, the oldest first."""


@dataclass(frozen=True)
class Arrival:
    """A path to register; `said.name` is a wish, and `qualifier` is put before it where it is taken.

    `found` is what it was identified as, and `seen` the status that each of its files had before that.
    """

    path: Path
    said: Submission
    found: Identification
    seen: Mapping[str, FileStatus]
    qualifier: str = ""
    in_place: bool = False


@dataclass(frozen=True)
class Arrived:
    """The version of an arrival, whether it is new, the sha256 of each of its files and what of them was left out; or
    why there is no version.
    """

    arrival: Arrival
    ref: str | None = None
    is_new: bool = False
    digests: tuple[tuple[str, str], ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    error: str = ""


class _Unfit(Exception):
    """One arrival of a transaction cannot be registered; the others can, without it."""

    def __init__(self, arrival: Arrival, error: Exception) -> None:
        super().__init__(str(error))
        self.arrival = arrival


def add_arrivals(database: Database, store: BlobStore, arrivals: Sequence[Arrival]) -> list[Arrived]:
    """Register what can be registered, in one transaction; what cannot is answered with the reason.

    What a base among them explains is identified again after that.
    """
    known = registered_architectures(database)
    with store.staging.open() as folder:
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(partial(_read, known, folder), arrivals, count()))
        contents = {
            one.path: content for one, content in zip(arrivals, read, strict=True) if isinstance(content, Content)
        }
        failed = {
            one.path: Arrived(one, error=error)
            for one, error in zip(arrivals, read, strict=True)
            if isinstance(error, str)
        }
        staged = [file for content in contents.values() for file in content.staged]
        with sent(database, store, staged):
            while True:
                try:
                    done = _write(database, store, [one for one in arrivals if one.path in contents], contents)
                    break
                except _Unfit as unfit:
                    del contents[unfit.arrival.path]
                    failed[unfit.arrival.path] = Arrived(unfit.arrival, error=str(unfit))
    catch_up(database, store, known, (content.facts for content in contents.values() if content.facts is not None))
    answers = {one.arrival.path: one for one in done} | failed
    return [answers[arrival.path] for arrival in arrivals]


def version_holding(database: Database, sha256: str, uri: str) -> str | None:
    """The version that a file belongs to: one that came from there, else the oldest with those bytes."""
    holding = select(VersionRow).join(ArtifactRow).where(ArtifactRow.blob_sha256 == sha256)
    holding = holding.where(VersionRow.removed_at.is_(None)).order_by(VersionRow.id)
    with database.reading() as uow:
        came = uow.session.scalar(holding.join(OriginRow).where(OriginRow.uri == uri).limit(1))
        row = came or uow.session.scalar(holding.limit(1))
        return ref_of(row) if row else None


def free_name(uow: UnitOfWork, wish: str, qualifier: str) -> str:
    """A name that no model has: the wish, the wish with its qualifier, or the wish with a number."""
    return next(name for name in _names(wish, qualifier) if find_model(uow, name) is None)


def _names(wish: str, qualifier: str) -> Iterator[str]:
    yield slug_of(wish)
    if qualifier:
        yield slug_of(f"{qualifier}-{wish}")
    for number in count(2):
        yield f"{slug_of(wish)[: LONGEST_NAME - 8]}-{number}"


def _read(known: Sequence[Architecture], folder: Path, arrival: Arrival, number: int) -> Content | str:
    prefix = f"{number}/" if arrival.path.is_dir() else f"{number}-"
    try:
        place = None if arrival.in_place else folder
        content = read_content(arrival.path, arrival.said, known, place, found=arrival.found, prefix=prefix)
        changed = [path for path, status in arrival.seen.items() if FileStatus.of(Path(path)) != status]
        return f"changed while it was read: {changed[0]}; import it when it is complete" if changed else content
    except (FormatError, RegistryError, OSError) as error:
        return _reason(error)


def _write(
    database: Database, store: BlobStore, arrivals: Sequence[Arrival], contents: dict[Path, Content]
) -> list[Arrived]:
    with database.writing() as uow:
        holding = _versions_holding(uow, [contents[one.path] for one in arrivals])
        fresh = [one for one in arrivals if _fit(one, _offered, holding, contents[one.path]) is None]
        staged = [file for one in fresh for file in contents[one.path].staged]
        record_blobs(uow, staged)
        done = [_fit(one, partial(_register, uow, one), holding, contents[one.path]) for one in arrivals]
        record_in_place(uow, staged)
        place_blobs(uow, store, [file for file in staged if file.in_place is None])
        uow.commit()
    return done


def _fit(arrival: Arrival, step: Callable[[Holding, Content], T], holding: Holding, content: Content) -> T:
    try:
        return step(holding, content)
    except RegistryError as error:
        raise _Unfit(arrival, error) from error


def _register(uow: UnitOfWork, arrival: Arrival, holding: Holding, content: Content) -> Arrived:
    digests = tuple((file.path, staged.digests.sha256) for file, staged in content.files)
    same = _offered(holding, content)
    if same is not None:
        correct_facts(uow, same, content.facts)
        keep_statements(uow, same, arrival.said, content)
        return Arrived(arrival, ref_of(same), is_new=False, digests=digests, left_out=content.named_left_out)
    before = _from_origin(uow, content.origin)
    if before is not None:
        said = replace(arrival.said, name=before.model.slug)
    else:
        said = replace(arrival.said, name=free_name(uow, arrival.said.name, arrival.qualifier))
    version = register(uow, said, content)
    holding[content.digest].append(version)
    return Arrived(arrival, ref_of(version), is_new=True, digests=digests, left_out=content.named_left_out)


def _versions_holding(uow: UnitOfWork, contents: Sequence[Content]) -> Holding:
    """The versions that have one of these contents."""
    holding: Holding = defaultdict(list)
    query = select(VersionRow).where(VersionRow.digest.in_([content.digest for content in contents]))
    for row in uow.session.scalars(query.order_by(VersionRow.id)):
        holding[row.digest].append(row)
    return holding


def _offered(holding: Holding, content: Content) -> VersionRow | None:
    """The oldest version of this content that is offered. Raises Refused where all of them were removed."""
    rows = holding[content.digest]
    offered = [row for row in rows if row.removed_at is None]
    if rows and not offered:
        raise Refused(f"its content was removed as {ref_of(rows[0])}. To have it back: tau restore {ref_of(rows[0])}")
    return offered[0] if offered else None


def _from_origin(uow: UnitOfWork, origin: Origin) -> VersionRow | None:
    came = (OriginRow.uri == origin.uri, OriginRow.kind == origin.kind)
    query = select(VersionRow).join(OriginRow).where(*came).order_by(VersionRow.id.desc()).limit(1)
    return uow.session.scalar(query)


def ref_of(row: VersionRow) -> str:
    """The reference that always means this version."""
    return f"{row.model.slug}:{row.number}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return str(error)

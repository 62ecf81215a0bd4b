"""Imports a folder of models, or any list of paths: what is unchanged is not read, what cannot be taken is named.

Looking at a library again compares names and stats with what was imported before. Files are registered in batches, one
transaction each, so that an interruption loses the batch at hand and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.intake.importing import known_tables
from workbench.intake.report import Imported, ImportReport
from workbench.intake.scanning import Candidate, LeftOut, scan
from workbench.intake.sidecars import Sidecars, read_sidecars
from workbench.intake.statements import attach, complete
from workbench.pace import Pace, Tell

if TYPE_CHECKING:
    from formats import Architecture
    from registry import Origin, Registry, Version
    from registry.arrivals import Arrival, Arrived
    from registry.blobs.staging import FileStatus
    from registry.known_files import KnownFile

BATCH_ITEMS = 64
BATCH_BYTES = 256 << 20
SCAN_BATCH = 2_000
SIDECAR_SLACK_NS = 2_000_000_000
"""How much a file system's clock may lag behind the database's."""

Doubts = Callable[["Registry", str | None], tuple[LeftOut, ...]]
"""doubts(registry, sha256 of the only file): why what is known beside the bytes may not be about them."""


@dataclass(frozen=True)
class Wish:
    """A candidate; `beside` reads what is known of it beside its bytes."""

    candidate: Candidate
    beside: Callable[[], Sidecars]
    name: str | None = None
    kind: str | None = None
    origin: "Origin | None" = None
    doubts: Doubts | None = None


@dataclass
class Tally:
    """What has come of an import so far."""

    imported: list[Imported] = field(default_factory=list)
    left: list[LeftOut] = field(default_factory=list)
    unchanged: int = 0

    def report(self, *, is_cancelled: bool = False) -> ImportReport:
        """The tally so far."""
        return ImportReport(tuple(self.imported), self.unchanged, tuple(self.left), is_cancelled)

    def would_import(self, wishes: "Iterable[Wish]") -> ImportReport:
        """The report of a dry run: what would be looked at, without a version."""
        self.imported.extend(Imported(str(wish.candidate.path), "", is_new=True) for wish in wishes)
        return self.report()


def import_folder(
    registry: "Registry",
    folder: Path,
    *,
    kind: str | None = None,
    draft: bool = False,
    in_place: bool = False,
    dry_run: bool = False,
    batch_items: int = BATCH_ITEMS,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImportReport:
    """Register every model below a folder that is new or changed, with what lies beside it.

    `kind` is taken for all of them where it is given; at most `batch_items` share a transaction. With `dry_run` nothing
    is read and nothing is written: the report names what would be looked at. Raises NotImportable where `folder` is no
    folder.
    """
    tally = Tally()
    wishes = _changed(registry, scan(folder), tally, kind, dry_run=dry_run)
    if dry_run:
        return tally.would_import(wishes)
    extent = (0, 0)
    if tell:  # what is told needs to know how much there is to do
        wishes = list(wishes)
        extent = extent_of(wishes)
    options = {"draft": draft, "in_place": in_place, "batch_items": batch_items}
    return take(registry, wishes, tally, extent, tell=tell, cancelled=cancelled, **options)


def take(
    registry: "Registry",
    wishes: Iterable[Wish],
    tally: Tally,
    extent: tuple[int, int],
    *,
    draft: bool = False,
    in_place: bool = False,
    batch_items: int = BATCH_ITEMS,
    tell: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImportReport:
    """Register candidates in batches; `cancelled` is asked before each batch, `extent` is what there is to do."""
    pace = Pace(*extent, tell)
    for batch in batches(wishes, batch_items):
        if cancelled is not None and cancelled():
            return tally.report(is_cancelled=True)
        _take_batch(registry, batch, tally, draft=draft, in_place=in_place)
        pace.advance(sum(wish.candidate.size for wish in batch), batch[-1].candidate.path.name, items=len(batch))
    return tally.report()


def extent_of(wishes: Iterable[Wish]) -> tuple[int, int]:
    """The bytes and the number of candidates."""
    size = items = 0
    for wish in wishes:
        size += wish.candidate.size
        items += 1
    return size, items


def batches(wishes: Iterable[Wish], most: int) -> Iterator[list[Wish]]:
    """The wishes in runs of at most `most`, and of about BATCH_BYTES unless one alone is larger."""
    batch: list[Wish] = []
    size = 0
    for wish in wishes:
        if batch and (len(batch) == most or size + wish.candidate.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(wish)
        size += wish.candidate.size
    if batch:
        yield batch


def as_wish(candidate: Candidate, kind: str | None = None) -> Wish:
    """A candidate that is described by what lies beside it."""
    return Wish(candidate, partial(_beside, candidate), kind=kind)


def _changed(
    registry: "Registry", seen: Iterable[Candidate | LeftOut], tally: Tally, kind: str | None, *, dry_run: bool
) -> Iterator[Wish]:
    """The candidates that are new or changed; the tally counts the others. A dry run does not look at sidecars."""
    for group in _groups(seen, tally):
        known = _known(registry, group)
        for candidate in group:
            if not is_unchanged(candidate, known):
                yield as_wish(candidate, kind)
            elif not dry_run and _has_news(candidate, known):
                _look_beside_again(registry, candidate, known, tally)
            else:
                tally.unchanged += 1


def _groups(seen: Iterable[Candidate | LeftOut], tally: Tally) -> Iterator[list[Candidate]]:
    """The candidates, in groups that one query can ask about; the tally keeps what was left."""
    group: list[Candidate] = []
    for one in seen:
        if isinstance(one, LeftOut):
            tally.left.append(one)
            continue
        group.append(one)
        if len(group) == SCAN_BATCH:
            yield group
            group = []
    if group:
        yield group


def _known(registry: "Registry", candidates: Iterable[Candidate]) -> "dict[str, KnownFile]":
    from registry.known_files import known_files

    return known_files(registry.database, [file.path for candidate in candidates for file in candidate.files])


def is_unchanged(candidate: Candidate, known: "Mapping[str, KnownFile]") -> bool:
    """Whether every file of a candidate has the stat that it was imported with."""
    return all(
        (there := known.get(file.path)) is not None
        and (file.size, file.mtime_ns, file.inode) == (there.status.size, there.status.mtime_ns, there.status.inode)
        for file in candidate.files
    )


def _has_news(candidate: Candidate, known: "Mapping[str, KnownFile]") -> bool:
    """Whether something beside a candidate was written after it was last looked at."""
    checked = known[candidate.files[0].path].checked_at
    return candidate.beside_ns > 0 and (
        checked is None or candidate.beside_ns > checked.timestamp() * 1e9 - SIDECAR_SLACK_NS
    )


def _look_beside_again(
    registry: "Registry", candidate: Candidate, known: "Mapping[str, KnownFile]", tally: Tally
) -> None:
    from registry.arrivals import version_holding
    from registry.known_files import remember

    file = candidate.files[0]
    sha256 = known[file.path].sha256
    ref = version_holding(registry.database, sha256, file.path)
    if ref is not None:
        tally.left.extend(attach(registry, ref, _beside(candidate), sha256))
    remember(registry.database, [(file.path, sha256, known[file.path].status)])
    tally.unchanged += 1


def _beside(candidate: Candidate) -> Sidecars:
    return read_sidecars(candidate.path) if candidate.beside_ns else Sidecars()


def remember_import(registry: "Registry", candidate: Candidate, version: "Version") -> None:
    """Let a later walk know that a candidate was imported as this version."""
    from registry.known_files import remember

    digests = tuple((artifact.path, artifact.sha256) for artifact in version.artifacts)
    remember(registry.database, _statuses(candidate, digests))


def _take_batch(registry: "Registry", batch: Sequence[Wish], tally: Tally, *, draft: bool, in_place: bool) -> None:
    from registry.arrivals import add_arrivals
    from registry.known_files import remember

    tables = known_tables(registry)
    arrivals, wishes = [], []
    for wish in batch:
        try:
            found = wish.beside()
            arrivals.append(_arrival(wish, found, tables, draft=draft, in_place=in_place))
            wishes.append((wish, found))
        except foreseen() as error:
            tally.left.append(LeftOut(wish.candidate.path, reason_of(error, wish.candidate.path)))
    remembered = []
    for (wish, found), arrived in zip(wishes, add_arrivals(registry.database, registry.store, arrivals), strict=True):
        if arrived.ref is None:
            tally.left.append(LeftOut(wish.candidate.path, without_path(arrived.error, wish.candidate.path)))
            continue
        tally.imported.append(Imported(str(wish.candidate.path), arrived.ref, arrived.is_new))
        tally.left.extend(_left_out(wish.candidate, arrived, tally))
        sha256 = arrived.digests[0][1] if len(arrived.digests) == 1 else None
        tally.left.extend(complete(registry, arrived.ref, found, sha256))
        tally.left.extend(wish.doubts(registry, sha256) if wish.doubts else ())
        remembered.extend(_statuses(wish.candidate, arrived.digests))
    remember(registry.database, remembered)


def _left_out(candidate: Candidate, arrived: "Arrived", tally: Tally) -> Iterator[LeftOut]:
    """What of a folder was not registered, apart from what the walk has named already."""
    named = {one.path for one in tally.left} if arrived.left_out else set()
    for one in arrived.left_out:
        if (path := candidate.path / one.path) not in named:
            yield LeftOut(path, one.reason)


def _arrival(
    wish: Wish, beside: Sidecars, tables: "Sequence[Architecture]", *, draft: bool, in_place: bool
) -> "Arrival":
    """What the registry is asked to record; the kind follows from what it is unless it is told."""
    from formats import identify
    from registry.arrivals import Arrival
    from registry.blobs.staging import FileStatus
    from registry.names import slug_of
    from registry.submission import Submission
    from registry.values import Kind
    from workbench.intake.importing import kind_of

    path = wish.candidate.path
    found = identify(path, architectures=tables, hashes=False)
    kind = Kind(wish.kind or kind_of(found, path))
    name = slug_of(wish.name or (path.name if path.is_dir() else path.stem))
    known = {"statements": beside.statements, "kind_is_guess": wish.kind is None}
    said = Submission(kind=kind, name=name, draft=draft, origin=wish.origin, **known)
    seen = {file.path: FileStatus(file.size, file.mtime_ns, file.inode) for file in wish.candidate.files}
    return Arrival(path, said, found, seen, path.parent.name, in_place)


def _statuses(candidate: Candidate, digests: Sequence[tuple[str, str]]) -> "Iterator[tuple[str, str, FileStatus]]":
    """What a later walk compares with: the files of a candidate, the bytes that each had, and its stat."""
    from registry.blobs.staging import FileStatus

    by_name = dict(digests)
    for file in candidate.files:
        name = Path(file.path).relative_to(candidate.path).as_posix()
        sha256 = digests[0][1] if name == "." else by_name.get(name)
        if sha256 is not None:
            yield file.path, sha256, FileStatus(file.size, file.mtime_ns, file.inode)


def foreseen() -> tuple[type[Exception], ...]:
    """What can be wrong with one thing of many without stopping the others."""
    from formats import FormatError
    from registry import RegistryError

    return FormatError, RegistryError, WorkbenchError, OSError


def reason_of(error: Exception, path: Path) -> str:
    """Why a path was left, without its name."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return without_path(str(error), path)


def without_path(text: str, path: Path) -> str:
    """A message that is shown beside its path."""
    return text.removeprefix(f"{path}: ")

"""Keeps another tool's folders filled with a selection of the catalog, under names that people can read.

A second run writes only what has changed and removes only what an earlier one wrote. Nothing that somebody else put
there, or that somebody has changed, is ever replaced or removed. Files are copies that share their blocks where the
file system can, never hard links: what another tool does to one cannot reach the catalog.

A version whose bytes are lost or that cannot be written is left out with the reason, what an earlier sync wrote of its
model stays, and all others are written.
"""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.errors import IdentityLost, SyncCancelled, UnknownPath
from workbench.giving.placements import Placement, chosen, place
from workbench.giving.sync_items import Item
from workbench.giving.sync_manifest import PREFIX, Entry, Manifest, Standing, held
from workbench.giving.tools import Tool, tool_named
from workbench.recipes.architectures import Architectures

if TYPE_CHECKING:
    from registry import Registry, Version

PAGE = 500

OnFile = Callable[[int, int], None]
"""Called with (files written, files to write)."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did, or with `dry_run` would do; paths are relative to `folder`."""

    folder: Path
    tool: str
    dry_run: bool
    versions: int
    written: tuple[str, ...]
    removed: tuple[str, ...]
    unchanged: int
    kept: tuple[str, ...]
    """Paths in the way that are somebody else's, or that somebody has changed."""
    left_out: tuple[tuple[str, str], ...]
    """References and the reason why they are not there."""
    failed: tuple[str, ...] = ()
    """Those of `left_out` that belong there, but whose bytes are lost or cannot be written."""


@dataclass(frozen=True)
class _Task:
    """Files of one version that are written together or not at all."""

    version: "Version"
    items: tuple[Item, ...]
    is_beside: bool = False
    """Whether it is something that stands beside a model, which goes without it."""


@dataclass
class _Course:
    """What is to be done."""

    write: list[_Task] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    keep: set[str] = field(default_factory=set)
    in_the_way: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    versions: int = 0

    @property
    def items(self) -> list[Item]:
        """Every file to write."""
        return [item for task in self.write for item in task.items]

    def fail(self, version: "Version", error: Exception, path: str = "") -> None:
        """Leave a version out, or one file that stands beside it, for a reason that may be gone the next time."""
        is_from_system = isinstance(error, OSError) and error.strerror
        reason = f"{error.filename}: {error.strerror}" if is_from_system else str(error)
        reason = reason.removeprefix(f"{version.ref}: ")
        self.left_out.append((version.ref, f"{path}: {reason}" if path else reason))
        self.failed.append(version.ref)


def sync(
    registry: "Registry",
    folder: Path,
    tool: str,
    where: str | None = None,
    *,
    every_version: bool = False,
    dry_run: bool = False,
    progress: OnFile | None = None,
    cancelled: Callable[[], object] | None = None,
) -> SyncReport:
    """Bring the folder of a tool (comfyui, a1111) to hold what the query `where` finds; everything when None.

    A model's file is called after it and holds the version that its name means; with `every_version` each version has
    a file of its own, `papercut-v3`. `cancelled` is asked before each file; a true answer stops, the next run goes on.

    Raises UnknownTool, UnknownPath, SyncRunning, and what the query refuses.
    """
    program = tool_named(tool)
    folder = folder.absolute()
    if not folder.is_dir():
        raise UnknownPath(folder)
    with held(folder):
        manifest = Manifest(folder, program.name)
        course = _chart(registry, manifest, program, where, every_version=every_version)
        if not dry_run:
            _remove_leftovers(folder)
            _write(manifest, course, _Pace(folder, len(course.items), progress, cancelled))
        _spare(manifest, course, every_version=every_version)
        if not dry_run:
            _remove(manifest, course, program)
            manifest.save()
    return SyncReport(
        folder=folder,
        tool=program.name,
        dry_run=dry_run,
        versions=course.versions,
        written=tuple(item.path for item in course.items),
        removed=tuple(course.remove),
        unchanged=len(course.keep),
        kept=tuple(dict.fromkeys(course.in_the_way)),
        left_out=tuple(course.left_out),
        failed=tuple(dict.fromkeys(course.failed)),
    )


def _chart(registry: "Registry", manifest: Manifest, tool: Tool, where: str | None, *, every_version: bool) -> _Course:
    """Decide about every version that is wanted, then about every file of ours that no longer is."""
    course, known = _Course(), Architectures(registry)
    for version in chosen(_found(registry, where), every_version=every_version):
        try:
            placement = place(registry, version, tool, known, every_version=every_version)
        except _lost() as error:
            course.fail(version, error)
            continue
        if isinstance(placement, str):
            course.left_out.append((version.ref, placement))
        else:
            _plan(manifest, placement, course)
    wanted = course.keep | {item.path for item in course.items}
    for path in sorted(manifest.entries.keys() - wanted):
        standing = manifest.standing(path)
        if standing is Standing.OURS:
            course.remove.append(path)
        else:
            course.forget.append(path)
            course.in_the_way += [path] * (standing is Standing.FOREIGN and manifest.entries[path].is_ours)
    return course


def _found(registry: "Registry", where: str | None) -> "Iterator[Version]":
    """Every version that the query finds, a page at a time."""
    cursor: str | None = None
    while True:
        page = registry.page(where or "", limit=PAGE, after=cursor)
        yield from page.versions
        cursor = page.cursor
        if cursor is None:
            return


def _plan(manifest: Manifest, placement: Placement, course: _Course) -> None:
    """Find a name under which everything of a version can stand, and what has to be written for that."""
    for stem in placement.stems:
        items = placement.items(stem)
        foreign = [item.path for item in items if not _is_free(manifest, item, course)]
        if not foreign:
            course.versions += 1
            course.taken.update(item.path.casefold() for item in items)
            _plan_items(manifest, items, placement.version, course)
            for item in placement.companions(stem):
                if item.path.casefold() not in course.taken and _is_free(manifest, item, course):
                    course.taken.add(item.path.casefold())
                    _plan_items(manifest, [item], placement.version, course, is_beside=True)
            return
        course.in_the_way += foreign
    course.left_out.append((placement.version.ref, "every name that it could have is taken"))


def _is_free(manifest: Manifest, item: Item, course: _Course) -> bool:
    """Whether the item can stand at its path: nothing is there, a file of ours, or the very bytes already."""
    if item.path.casefold() in course.taken:
        return False
    if manifest.standing(item.path) is not Standing.FOREIGN:
        return True
    return item.sha256 is not None and item.size is not None and manifest.is_equal(item.path, item.sha256, item.size)


def _plan_items(
    manifest: Manifest, items: list[Item], version: "Version", course: _Course, *, is_beside: bool = False
) -> None:
    """Keep what is there as it should be, and write the rest together."""
    write = tuple(item for item in items if not _is_there(manifest, item, version))
    course.keep.update(item.path for item in items if item not in write)
    if write:
        course.write.append(_Task(version, write, is_beside))


def _is_there(manifest: Manifest, item: Item, version: "Version") -> bool:
    """Whether the file is as it should be; somebody else's of the same bytes is remembered as theirs."""
    standing = manifest.standing(item.path)
    entry = manifest.entries.get(item.path)
    if standing is Standing.FOREIGN:
        status = (manifest.folder / item.path).stat()
        manifest.entries[item.path] = Entry(
            item.path, version.ref, item.key, str(item.sha256), status.st_size, status.st_mtime_ns, is_ours=False
        )
        return True
    return standing is Standing.OURS and entry is not None and entry.key == item.key


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed syncs were writing; whoever holds the folder knows that none of them goes on."""
    if sys.platform == "win32":
        return  # nobody holds a folder there
    for path in folder.glob(f"{PREFIX}part-*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _write(manifest: Manifest, course: _Course, pace: "_Pace") -> None:
    """Write every task; those that fail are taken out of the course, and whatever stands there of them stays."""
    if not course.write:
        return
    with TemporaryDirectory(prefix=f"{PREFIX}part-", dir=manifest.folder) as staging:
        for number, task in enumerate(tuple(course.write)):
            place = Path(staging) / str(number)
            try:
                place.mkdir()
                _write_task(manifest, task, place, pace)
            except _lost() as error:
                course.write.remove(task)
                course.versions -= not task.is_beside
                course.fail(task.version, error, task.items[0].path if task.is_beside else "")
                shutil.rmtree(place, ignore_errors=True)
    pace.end()


def _write_task(manifest: Manifest, task: _Task, place: Path, pace: "_Pace") -> None:
    """Write every file beside and check it, then bring one after the other to its place."""
    staged = []
    for item in task.items:
        pace.step()
        path = place / str(len(staged))
        sha256 = item.write(path)
        if item.sha256 is not None and sha256 != item.sha256:
            raise IdentityLost(
                f"{task.version.ref}: {item.path}: got sha256 {sha256}, expected {item.sha256}. Run: tau doctor"
            )
        staged.append((item, path, sha256))
    for item, path, sha256 in staged:
        _bring(manifest, Entry(item.path, task.version.ref, item.key, sha256, *_size_and_time(path)), path)


def _bring(manifest: Manifest, entry: Entry, staged: Path) -> None:
    """Say so in the manifest, then rename into place; where that fails, what was said before holds again."""
    target = manifest.folder / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    before = manifest.entries.get(entry.path)
    manifest.note(entry)
    try:
        staged.replace(target)
    except OSError:
        if before is None:
            manifest.forget(entry.path)
        else:
            manifest.note(before)
        raise


def _size_and_time(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _lost() -> tuple[type[Exception], ...]:
    """What can be wrong with the bytes of one version, or with writing them, without stopping the others."""
    from formats import FormatError
    from registry import CorruptBlob, NotFound, Refused

    return CorruptBlob, FormatError, IdentityLost, NotFound, OSError, Refused


class _Pace:
    """Counts files, and stops where that is wanted."""

    def __init__(
        self, folder: Path, total: int, progress: OnFile | None, cancelled: Callable[[], object] | None
    ) -> None:
        self.folder, self.total, self.done = folder, total, 0
        self._progress, self._cancelled = progress, cancelled

    def step(self) -> None:
        """Before each file. Raises SyncCancelled."""
        if self._cancelled is not None and self._cancelled():
            raise SyncCancelled(f"{self.folder}: stopped after {self.done} of {self.total} files")
        if self._progress is not None:
            self._progress(self.done, self.total)
        self.done += 1

    def end(self) -> None:
        """After the last file."""
        if self._progress is not None:
            self._progress(self.total, self.total)


def _spare(manifest: Manifest, course: _Course, *, every_version: bool) -> None:
    """Keep what an earlier sync wrote of versions that failed now: of the model, unless each version has a file."""
    failed = {_subject(ref, every_version) for ref in course.failed}
    course.remove = [
        path for path in course.remove if _subject(manifest.entries[path].ref, every_version) not in failed
    ]


def _subject(ref: str, every_version: bool) -> str:
    return ref if every_version else ref.rpartition(":")[0]


def _remove(manifest: Manifest, course: _Course, tool: Tool) -> None:
    """Remove files of ours that are no longer wanted, and the folders that this empties."""
    for path in course.remove:
        (manifest.folder / path).unlink()
        _remove_empty(manifest.folder, Path(path).parent, tool)
    for path in (*course.remove, *course.forget):
        manifest.forget(path)


def _remove_empty(root: Path, folder: Path, tool: Tool) -> None:
    """Folders of one pipeline, never those that the tool itself has."""
    own = tool.pipelines
    while own and folder.is_relative_to(own) and folder != Path(own):
        try:
            (root / folder).rmdir()
        except OSError:
            return
        folder = folder.parent

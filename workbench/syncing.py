"""Keeps another tool's folders filled with a selection of the catalog, under names that people can read.

A second run writes only what has changed and removes only what an earlier one wrote. Nothing that somebody else put
there, or that somebody has changed, is ever replaced or removed. Files are copies that share their blocks where the
file system can, never hard links: what another tool does to one cannot reach the catalog.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from workbench.errors import IdentityLost, SyncCancelled, UnknownPath
from workbench.placements import Placement, chosen, place
from workbench.recipes import Architectures
from workbench.sync_items import Item
from workbench.sync_manifest import PREFIX, Entry, Manifest, Standing, held
from workbench.tools import Tool, tool_named

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


@dataclass
class _Course:
    """What is to be done."""

    write: list[tuple[Item, "Version"]] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    forget: list[str] = field(default_factory=list)
    keep: set[str] = field(default_factory=set)
    in_the_way: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    versions: int = 0


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
            _remove(manifest, course, program)
            _write(manifest, course, progress, cancelled)
            manifest.save()
    return SyncReport(
        folder=folder,
        tool=program.name,
        dry_run=dry_run,
        versions=course.versions,
        written=tuple(item.path for item, _ in course.write),
        removed=tuple(course.remove),
        unchanged=len(course.keep),
        kept=tuple(dict.fromkeys(course.in_the_way)),
        left_out=tuple(course.left_out),
    )


def _chart(registry: "Registry", manifest: Manifest, tool: Tool, where: str | None, *, every_version: bool) -> _Course:
    """Decide about every version that is wanted, then about every file of ours that no longer is."""
    course, known = _Course(), Architectures(registry)
    for version in chosen(_found(registry, where), every_version=every_version):
        placement = place(registry, version, tool, known, every_version=every_version)
        if isinstance(placement, str):
            course.left_out.append((version.ref, placement))
        else:
            _plan(manifest, placement, course)
    wanted = course.keep | {item.path for item, _ in course.write}
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
            for item in items:
                _plan_item(manifest, item, placement.version, course)
            for item in placement.companions(stem):
                if item.path.casefold() not in course.taken and _is_free(manifest, item, course):
                    course.taken.add(item.path.casefold())
                    _plan_item(manifest, item, placement.version, course)
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


def _plan_item(manifest: Manifest, item: Item, version: "Version", course: _Course) -> None:
    standing = manifest.standing(item.path)
    entry = manifest.entries.get(item.path)
    if standing is Standing.FOREIGN:
        status = (manifest.folder / item.path).stat()
        manifest.entries[item.path] = Entry(
            item.path, version.ref, item.key, str(item.sha256), status.st_size, status.st_mtime_ns, is_ours=False
        )
        course.keep.add(item.path)
    elif standing is Standing.OURS and entry is not None and entry.key == item.key:
        course.keep.add(item.path)
    else:
        course.write.append((item, version))


def _write(
    manifest: Manifest, course: _Course, progress: OnFile | None, cancelled: Callable[[], object] | None
) -> None:
    if not course.write:
        return
    with TemporaryDirectory(prefix=f"{PREFIX}part-", dir=manifest.folder) as staging:
        for done, (item, version) in enumerate(course.write):
            if cancelled is not None and cancelled():
                raise SyncCancelled(f"{manifest.folder}: stopped after {done} of {len(course.write)} files")
            if progress is not None:
                progress(done, len(course.write))
            _write_item(manifest, item, version, Path(staging) / str(done))
        if progress is not None:
            progress(len(course.write), len(course.write))


def _write_item(manifest: Manifest, item: Item, version: "Version", staged: Path) -> None:
    """Write beside, check, say so in the manifest, rename into place."""
    sha256 = item.write(staged)
    status = staged.stat()
    if item.sha256 is not None and sha256 != item.sha256:
        raise IdentityLost(f"{version.ref}: {item.path}: got sha256 {sha256}, expected {item.sha256}. Run: tau doctor")
    target = manifest.folder / item.path
    target.parent.mkdir(parents=True, exist_ok=True)
    manifest.note(Entry(item.path, version.ref, item.key, sha256, status.st_size, status.st_mtime_ns))
    staged.replace(target)


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

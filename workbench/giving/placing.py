"""Puts a folder that was made elsewhere in its place, whole or not at all.

Where nobody can notice, the new folder takes the place of the old one by a rename. A folder that is empty, that we
stand in or that something is mounted at stays itself: its files are exchanged, and come back when that fails.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PART = ".tauworks-part-"
"""Begins the names of folders in which something is still made; one that is left over was made by a killed run."""


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A hidden folder on the file system of `folder`, gone at the end; so are parents that were made for nothing."""
    inside = _keeps_itself(folder)
    made = [] if inside else _make_parents(folder)
    place = (folder if inside else folder.parent) / f"{PART}{secrets.token_hex(6)}"
    try:
        place.mkdir()
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # it holds something now
                parent.rmdir()


def put(content: Path, folder: Path, before: Path) -> None:
    """Bring `content` to `folder`, and what is there now to `before`, which lies beside `content`."""
    if _keeps_itself(folder):
        _exchange_files(content, folder, before)
        return
    moves: list[tuple[Path, Path]] = [(folder, before)] if folder.exists() else []
    with _undone_on_failure([]) as done:
        for source, target in [*moves, (content, folder)]:
            done.append((source, target))
            source.replace(target)


def files_of(folder: Path) -> list[Path]:
    """Every file below a folder, apart from what a killed run left half made."""
    found = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return [path for path in found if not path.relative_to(folder).parts[0].startswith(PART)]


def _keeps_itself(folder: Path) -> bool:
    """Whether a folder is there and must stay the one that it is."""
    if not folder.is_dir():
        return False
    return os.path.ismount(folder) or _is_around_us(folder) or not files_of(folder)


def _is_around_us(folder: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(folder.resolve())
    except OSError:  # whoever stands in a folder that is gone stands in none of ours
        return False


def _make_parents(folder: Path) -> list[Path]:
    """Make the folders above `folder`; those that were not there, the innermost first."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    return missing


def _exchange_files(content: Path, folder: Path, before: Path) -> None:
    """Move the files of `folder` to `before` and those of `content` to their places, then remove what this emptied."""
    old, new = files_of(folder), files_of(content)
    emptied = {parent for path in old for parent in path.relative_to(folder).parents} - {Path()}
    moves = [(path, before / path.relative_to(folder)) for path in old]
    moves += [(path, folder / path.relative_to(content)) for path in new]
    made: list[Path] = []
    with _undone_on_failure(made) as done:
        for source, target in moves:
            made.extend(reversed([parent for parent in target.parents if not parent.exists()]))
            target.parent.mkdir(parents=True, exist_ok=True)
            done.append((source, target))
            source.replace(target)
    for parent in sorted(emptied, reverse=True):
        with suppress(OSError):  # it holds something of the new content
            (folder / parent).rmdir()


@contextmanager
def _undone_on_failure(made: list[Path]) -> Iterator[list[tuple[Path, Path]]]:
    """A list of moves to fill, each before it is done; on any failure the files go back and `made` folders go."""
    done: list[tuple[Path, Path]] = []
    try:
        yield done
    except BaseException:
        for source, target in reversed(done):
            if os.path.lexists(target) and not os.path.lexists(source):
                target.replace(source)
        for parent in reversed(made):
            with suppress(OSError):  # it was there, or holds something
                parent.rmdir()
        raise

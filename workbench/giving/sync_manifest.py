"""What a sync wrote into another tool's folder, so that the next one knows its own files from everybody else's.

A file of JSON lines: what is said last of a path counts. A line is written before the file that it is about, so that
after a crash nothing of ours is taken for somebody else's; a line about a file that is not there says nothing.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from formats import file_sha256
from workbench.errors import FolderTaken, SyncRunning

SCHEMA = "tauworks.sync/1"
PREFIX = ".tauworks-sync-"


class Standing(Enum):
    """Whose a path is."""

    FREE = "nothing is there"
    OURS = "as we left it"
    FOREIGN = "somebody else's, or changed by somebody"


@dataclass(frozen=True)
class Entry:
    """A path below the folder. `key` says what it was made from; `is_ours` is False for equal bytes that were there."""

    path: str
    ref: str
    key: str
    sha256: str
    size: int
    mtime_ns: int
    is_ours: bool = True


class Manifest:
    """The entries of one tool in one folder."""

    def __init__(self, folder: Path, tool: str) -> None:
        self.folder = folder
        self.file = folder / f"{PREFIX}{tool}.jsonl"
        self.entries: dict[str, Entry] = {}
        if self.file.exists():
            self._load()

    def standing(self, path: str) -> Standing:
        """Whose the file at `path` is now; only a file whose size or time has changed is read."""
        place = self.folder / path
        if not os.path.lexists(place):
            return Standing.FREE
        entry = self.entries.get(path)
        if entry is None or place.is_symlink() or not place.is_file():
            return Standing.FOREIGN
        status = place.stat()
        if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns):
            return Standing.OURS if entry.is_ours else Standing.FOREIGN
        if status.st_size != entry.size or file_sha256(place) != entry.sha256:
            return Standing.FOREIGN
        self.entries[path] = replace(entry, mtime_ns=status.st_mtime_ns)
        return Standing.OURS if entry.is_ours else Standing.FOREIGN

    def is_equal(self, path: str, sha256: str, size: int) -> bool:
        """Whether the file at `path` has these bytes, whoever wrote it; what was read is remembered."""
        place = self.folder / path
        status = place.stat()
        if not place.is_file() or status.st_size != size:
            return False
        entry = self.entries.get(path)
        known = entry is not None and (entry.size, entry.mtime_ns) == (status.st_size, status.st_mtime_ns)
        return (entry.sha256 if entry is not None and known else file_sha256(place)) == sha256

    def note(self, entry: Entry) -> None:
        """Say something of a path, on disk before anything else happens to it."""
        self.entries[entry.path] = entry
        self._append(asdict(entry))

    def forget(self, path: str) -> None:
        """Say that a path is no longer ours."""
        if self.entries.pop(path, None) is not None:
            self._append({"path": path, "gone": True})

    def save(self) -> None:
        """Write the entries anew, without what was said before; no file is left where there is no entry."""
        if not self.entries:
            self.file.unlink(missing_ok=True)
            return
        fresh = self.file.with_suffix(".new")
        lines = [{"schema": SCHEMA}, *(asdict(self.entries[path]) for path in sorted(self.entries))]
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.file)

    def _append(self, line: dict[str, Any]) -> None:
        is_new = not self.file.exists()
        with self.file.open("a", encoding="utf-8") as file:
            if is_new:
                file.write(json.dumps({"schema": SCHEMA}) + "\n")
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _load(self) -> None:
        lines = self.file.read_text("utf-8").splitlines()
        if not lines or _parsed(lines[0]) != {"schema": SCHEMA}:
            raise FolderTaken(f"{self.file}: no manifest that this version of Tauworks reads; move it away")
        for text in lines[1:]:
            line = _parsed(text)
            if line is None:
                continue  # the last line of a run that was cut off
            if line.pop("gone", False):
                self.entries.pop(line["path"], None)
            elif _is_inside(line["path"]):
                self.entries[line["path"]] = Entry(**line)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other syncs out of the folder. Raises SyncRunning where one is going on."""
    if sys.platform == "win32":
        yield  # no folder can be locked there
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise SyncRunning(f"{folder}: another sync is going on there; wait until it is done") from error
    try:
        yield
    finally:
        os.close(handle)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _is_inside(path: str) -> bool:
    from registry import InvalidName
    from registry.blobs.filesystem import safe_relative_path

    try:
        safe_relative_path(path)
    except InvalidName:
        return False
    return True

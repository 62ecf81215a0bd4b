"""Private folders for bytes on their way in, and the files that are hashed and made durable there.

A folder is held by a lock that dies with its process, so that garbage collection tells an import that is still going
on from what a killed one left behind, however long it takes.
"""

import contextlib
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from formats.digests import Digests, digest
from formats.header import Header
from registry.blobs.filesystem import sync_file
from registry.errors import Refused

FICLONE = 0x40049409
"""Linux's request to share a file's blocks (reflink); answered with an error where the file system has none."""

LOCK = ".lock"

WRITE_BYTES = 128 << 10
"""Size of a single write: what was just hashed is copied from the processor's cache then."""

FLUSH_BYTES = 32 << 20
"""How much of a copy waits in memory before it is sent to the disk, while the copying goes on."""


@dataclass(frozen=True)
class FileStatus:
    """By what a later look at a path knows that it is still the same file."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> "FileStatus":
        """The status of the file at `path`, links followed."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class StagedFile:
    """Bytes that are hashed but not yet a blob.

    A private copy, which a store makes durable; or, with `in_place`, the owner's own file, which had that status while
    it was hashed.
    """

    path: Path
    digests: Digests
    in_place: FileStatus | None = None


class Staging:
    """The folder of private folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """A private folder that is gone at the end, whatever happens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._held_token() as token:
            folder = self.folder / token
            try:  # an interruption may come as soon as the folder is there
                folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def sweep(self, *, grace: float, dry_run: bool) -> list[int]:
        """Remove the folders whose process is gone and that nothing was written to for `grace` seconds; their bytes."""
        if not self.folder.is_dir():
            return []
        tokens = sorted({entry.name.removesuffix(LOCK) for entry in os.scandir(self.folder)})
        return [size for token in tokens if (size := self._sweep_one(token, grace, dry_run)) is not None]

    @contextlib.contextmanager
    def _held_token(self) -> Iterator[str]:
        """A name whose lock is ours; a sweep may take a lock file away before we hold it, and then we try again."""
        while True:
            token = secrets.token_hex(8)
            with _lock(self.folder / f"{token}{LOCK}") as held:
                if held:
                    yield token
                    return

    def _sweep_one(self, token: str, grace: float, dry_run: bool) -> int | None:
        """The bytes of an abandoned folder, None where it is in use or too young."""
        folder = self.folder / token
        if time.time() - _last_written(folder) < grace:
            return None
        with _lock(self.folder / f"{token}{LOCK}") as held:
            if not held or not folder.exists():
                return None
            size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
            if not dry_run:
                shutil.rmtree(folder, ignore_errors=True)
        return size


def stage_file(source: Path, target: Path, header: Header | None = None) -> StagedFile:
    """Copy `source` to `target` and hash what is copied, in one pass; where blocks can be shared, nothing is written.

    `header` is the one of `source` where it has been read already. Raises Refused, or formats' FileChanged, when
    `source` changes meanwhile.
    """
    with _unchanged(source):
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as read, target.open("wb") as write:
            if _reflink(read.fileno(), write.fileno()):
                digests = digest(target, header=header)
            else:
                digests = digest(source, _flushed(write), header)
    return StagedFile(target, digests)


def stage_bytes(content: bytes, target: Path) -> StagedFile:
    """Write `content` to `target` and hash it."""
    target.write_bytes(content)
    return StagedFile(target, digest(target))


def stage_copy(path: Path) -> StagedFile:
    """Hash and make durable, both at once, a file that already lies in a staging folder."""
    with ThreadPoolExecutor(1) as beside:
        synced = beside.submit(sync_file, path)
        digests = digest(path)
        synced.result()
    return StagedFile(path, digests)


def stage_in_place(source: Path, header: Header | None = None) -> StagedFile:
    """Hash a file that stays where it is. Raises Refused when it changes meanwhile."""
    with _unchanged(source) as status:
        digests = digest(source, header=header)
    return StagedFile(source, digests, status)


def _flushed(file: IO[bytes]) -> Callable[[memoryview], None]:
    """A way to write to a file that sends it to the disk meanwhile, so that little is left to wait for at the end."""
    written = sent = 0

    def write(chunk: memoryview) -> None:
        nonlocal written, sent
        for start in range(0, len(chunk), WRITE_BYTES):
            file.write(chunk[start : start + WRITE_BYTES])
        written += len(chunk)
        if written - sent >= FLUSH_BYTES and hasattr(os, "posix_fadvise"):
            # what will not be needed soon is written out without anybody waiting for it, as fsync would
            os.posix_fadvise(file.fileno(), sent, written - sent, os.POSIX_FADV_DONTNEED)
            sent = written

    return write


@contextlib.contextmanager
def _unchanged(source: Path) -> Iterator[FileStatus]:
    before = FileStatus.of(source)
    yield before
    if FileStatus.of(source) != before:
        raise Refused(f"{source}: changed while it was read. Wait until it is complete, then import it again.")


def _reflink(read: int, write: int) -> bool:
    """Share the blocks of an open file with another; False where that cannot be done."""
    if sys.platform != "linux":
        return False
    import fcntl

    try:
        fcntl.ioctl(write, FICLONE, read)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[bool]:
    """Hold a lock file and take it away at the end; False where somebody else holds it."""
    with path.open("ab") as file:
        held = _try_lock(file) and _is_at(file, path)
        try:
            yield held
        finally:
            if held and sys.platform != "win32":
                path.unlink(missing_ok=True)
    if held and sys.platform == "win32":  # which removes no open file; somebody else may have opened it since
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _try_lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _last_written(folder: Path) -> float:
    """When something below `folder` was last written, 0 where it is gone."""
    try:
        times = [path.lstat().st_mtime for path in (folder, *folder.rglob("*"))]
    except FileNotFoundError:
        return 0.0
    return max(times)

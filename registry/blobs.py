"""The content-addressed store: a blob's path is its sha256, so equal bytes are stored once and never change.

stage (copy, hash, fsync) -> place (rename) -> commit the row. Bytes without a row are invisible and harmless;
a row without bytes cannot come to exist.
"""

import contextlib
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from formats.digests import Digests, digest
from registry.errors import CorruptBlob, Refused
from registry.filesystem import sync_file, sync_folder

FICLONE = 0x40049409
"""Linux's request to share a file's blocks (reflink); answered with an error where the file system has none."""

COPY_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class StagedFile:
    """A private copy that is hashed and durable, but not yet a blob."""

    path: Path
    digests: Digests


class BlobStore:
    """Blobs in a local folder: `ab/abcd...` for the bytes, `staging/` for what is not placed yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._staging = self.folder / "staging"

    def path_of(self, sha256: str) -> Path:
        """Where the bytes of `sha256` lie or would lie."""
        return self.folder / sha256[:2] / sha256

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A private folder that is gone at the end, whatever happens."""
        folder = self._staging / secrets.token_hex(8)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def place(self, staged: StagedFile) -> bool:
        """Move a staged file to its address; False when its bytes are stored already. Call it under the write lock."""
        target = self.path_of(staged.digests.sha256)
        if target.is_file() and target.stat().st_size == staged.digests.size:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.path.chmod(0o444)
        staged.path.replace(target)
        sync_folder(target.parent)
        return True

    def remove(self, sha256: str) -> None:
        """Take back bytes that this process has just placed and that no row names."""
        self.path_of(sha256).unlink(missing_ok=True)

    def require(self, sha256: str, size: int) -> Path:
        """The path of stored bytes. Raises CorruptBlob when they are missing or have another size."""
        return require_size(self.path_of(sha256), size)


def require_size(path: Path, size: int) -> Path:
    """`path` itself when it holds `size` bytes. Raises CorruptBlob otherwise."""
    found = path.stat().st_size if path.is_file() else None
    if found != size:
        got = "no file" if found is None else f"{found:,} bytes"
        raise CorruptBlob(f"{path}: got {got}, expected {size:,} bytes. Import the original file again.")
    return path


def stage_file(source: Path, target: Path) -> StagedFile:
    """Copy `source` to `target`, hash the copy, make it durable. Raises Refused when `source` changes meanwhile."""
    before = source.stat()
    target.parent.mkdir(parents=True, exist_ok=True)
    _copy(source, target)
    after = source.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Refused(f"{source}: changed while it was read. Wait until it is complete, then import it again.")
    return stage_in_place(target)


def stage_bytes(content: bytes, target: Path) -> StagedFile:
    """Write `content` to `target`, hash it, make it durable."""
    target.write_bytes(content)
    return stage_in_place(target)


def stage_in_place(path: Path) -> StagedFile:
    """Hash and make durable a file that already lies in a staging folder."""
    sync_file(path)
    return StagedFile(path, digest(path))


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as read, target.open("wb") as write:
        if not _reflink(read.fileno(), write.fileno()):
            shutil.copyfileobj(read, write, COPY_CHUNK_BYTES)


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

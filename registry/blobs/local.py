"""Blobs in a local folder: `ab/abcd...` for the bytes, `staging` for what is not placed yet, `uploads` for pieces."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from registry.blobs.filesystem import in_parallel, sync_file, sync_folder
from registry.blobs.staging import StagedFile, Staging
from registry.blobs.store import PREFIXES, READ_BYTES, Found, key_of, missing, require_size


class LocalBlobs:
    """A store in one folder of a local disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.staging = Staging(self.folder / "staging")
        self._uploads = self.folder / "uploads"

    @property
    def address(self) -> str:
        """The folder."""
        return str(self.folder)

    def send(self, staged: StagedFile) -> bool:
        """Make the bytes durable; placing them is a rename then."""
        sync_file(staged.path)
        return False

    def place(self, staged: StagedFile) -> bool:
        """Move a staged file to its address; False when something was there, whose place they take."""
        target = self._path(staged.digests.sha256)
        was_there = target.exists()
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder)
        staged.path.chmod(0o444)
        staged.path.replace(target)
        return not was_there

    def settle(self, digests: Sequence[str]) -> None:
        """Make the renames durable; on most disks the first folder brings the others along."""
        in_parallel(sync_folder, sorted({self._path(sha256).parent for sha256 in digests}))

    def path_of(self, sha256: str, size: int) -> Path:
        """Where the bytes lie."""
        return require_size(self._path(sha256), size)

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`."""
        path = self._path(sha256)
        if not path.is_file():
            raise missing(str(path), "no file", stop - start)
        with path.open("rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(READ_BYTES, stop - start))):
                start += len(piece)
                yield piece

    def find(self, sha256: str) -> Found | None:
        """What lies at the address of `sha256`."""
        path = self._path(sha256)
        return _found(path) if path.is_file() else None

    def listed(self) -> Iterator[Found]:
        """The files, folder by folder, by name."""
        for folder in (self.folder / prefix for prefix in PREFIXES):
            if folder.is_dir():
                for name in sorted(entry.name for entry in os.scandir(folder)):
                    with contextlib.suppress(FileNotFoundError):
                        yield _found(folder / name)

    def remove(self, digests: Sequence[str]) -> None:
        """Delete the bytes of these blobs."""
        for sha256 in digests:
            self._path(sha256).unlink(missing_ok=True)

    def set_aside(self, sha256: str) -> str:
        """Move a blob's bytes to `set-aside`."""
        target = self.folder / "set-aside" / sha256
        target.parent.mkdir(exist_ok=True)
        self._path(sha256).replace(target)
        return str(target)

    def evict(self, *, dry_run: bool) -> list[int]:
        """Nothing: what lies here is no copy."""
        return []

    def stage_part(self, upload: str, content: bytes) -> str:
        """One file for what is no piece yet."""
        path = self._uploads / upload / f"{secrets.token_hex(8)}.new"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        sync_file(path)
        return path.name

    def put_part(self, upload: str, offset: int, staged: str) -> None:
        """One file a piece, named so that they sort by offset."""
        folder = self._uploads / upload
        (folder / staged).replace(folder / f"{offset:020d}")

    def drop_part(self, upload: str, staged: str) -> None:
        """Remove a staged file."""
        (self._uploads / upload / staged).unlink(missing_ok=True)

    def parts(self, upload: str) -> Iterator[bytes]:
        """The pieces in order."""
        for path in sorted((self._uploads / upload).glob("[0-9]*[0-9]")):
            yield path.read_bytes()

    def drop_parts(self, upload: str) -> None:
        """Remove the folder of an upload."""
        shutil.rmtree(self._uploads / upload, ignore_errors=True)

    def uploads(self) -> Iterator[Found]:
        """Every folder of pieces."""
        if not self._uploads.is_dir():
            return
        for folder in sorted(self._uploads.iterdir()):
            pieces = [_found(path) for path in folder.iterdir()]
            last = max((piece.modified for piece in pieces), default=folder.stat().st_mtime)
            yield Found(folder.name, sum(piece.size for piece in pieces), last)

    def _path(self, sha256: str) -> Path:
        return self.folder / key_of(sha256)


def _found(path: Path) -> Found:
    status = path.stat()
    return Found(path.name, status.st_size, status.st_mtime)

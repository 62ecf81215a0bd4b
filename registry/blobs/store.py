"""The content-addressed store: a blob's path is its sha256, so equal bytes are stored once and never change.

stage (copy, hash) -> send (fsync; S3: upload ahead of the transaction) -> place, inside the transaction -> commit.
Bytes without a row are invisible and harmless; a row without bytes cannot come to exist, because `place` looks under
the same lock under which garbage collection deletes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from registry.blobs.staging import StagedFile, Staging
from registry.errors import CorruptBlob

PREFIXES = tuple(f"{number:02x}" for number in range(256))
"""The first two digits of a digest: the folders that blobs are divided into, in order."""

DIGEST_LENGTH = 64
PART_BYTES = 8 << 20
"""Size of the pieces that big content travels in."""

READ_BYTES = 4 << 20

UNOPENED_SECONDS = 30 * 24 * 3600.0
"""How long a copy of a bucket's blob is kept on a machine after it was last opened there."""


@dataclass(frozen=True)
class Found:
    """Bytes that lie in a store: their name (a digest, unless somebody else put them there), size and time."""

    name: str
    size: int
    modified: float

    @property
    def is_blob(self) -> bool:
        """Whether the name is a digest."""
        return len(self.name) == DIGEST_LENGTH and not self.name.strip("0123456789abcdef")


class BlobStore(Protocol):
    """Where bytes lie. `folder` holds what this machine keeps of it: the blobs themselves, or copies of them."""

    folder: Path
    staging: Staging

    @property
    def address(self) -> str:
        """Where the store is, for people."""
        ...

    def send(self, staged: StagedFile) -> bool:
        """Make the bytes durable, and near, before the transaction; True when something was written to the store."""
        ...

    def place(self, staged: StagedFile) -> bool:
        """Put the bytes at their address; False when they are there already. Call it under the write lock."""
        ...

    def settle(self, digests: Sequence[str]) -> None:
        """Make the addresses of placed bytes durable."""
        ...

    def path_of(self, sha256: str, size: int) -> Path:
        """A local path of the bytes, to be read only. Raises CorruptBlob when they are missing or other ones."""
        ...

    def read(self, sha256: str, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces. Raises CorruptBlob when they are missing."""
        ...

    def find(self, sha256: str) -> Found | None:
        """What lies at the address of `sha256`."""
        ...

    def listed(self) -> Iterator[Found]:
        """Everything in the folders of blobs, by name, read page by page."""
        ...

    def remove(self, digests: Sequence[str]) -> None:
        """Delete bytes that no row names. Call it under the write lock."""
        ...

    def set_aside(self, sha256: str) -> str:
        """Move bytes that are not what their name says out of the way; where they are now."""
        ...

    def evict(self, *, dry_run: bool) -> list[int]:
        """Remove the copies on this machine that were not opened for UNOPENED_SECONDS; their sizes."""
        ...

    def stage_part(self, upload: str, content: bytes) -> str:
        """Keep bytes that want to be a piece of an upload, under a name that nobody else has; that name."""
        ...

    def put_part(self, upload: str, offset: int, staged: str) -> None:
        """Make staged bytes the piece at that offset; what was there goes. Call it under the write lock."""
        ...

    def drop_part(self, upload: str, staged: str) -> None:
        """Forget staged bytes; those that are a piece by now are none any more, and stay."""
        ...

    def parts(self, upload: str) -> Iterator[bytes]:
        """The pieces of an upload, in order."""
        ...

    def drop_parts(self, upload: str) -> None:
        """Forget an upload's pieces."""
        ...

    def uploads(self) -> Iterator[Found]:
        """The uploads that have pieces: their size, and when the last one came."""
        ...


def key_of(sha256: str) -> str:
    """The address of a blob inside its store."""
    return f"{sha256[:2]}/{sha256}"


def missing(where: str, got: str, size: int) -> CorruptBlob:
    """The error for stored bytes that are not what they should be."""
    return CorruptBlob(f"{where}: got {got}, expected {size:,} bytes. Import the original file again.")


def require_size(path: Path, size: int) -> Path:
    """`path` itself when it holds `size` bytes. Raises CorruptBlob otherwise."""
    found = path.stat().st_size if path.is_file() else None
    if found != size:
        raise missing(str(path), "no file" if found is None else f"{found:,} bytes", size)
    return path

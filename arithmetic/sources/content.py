"""Whether two weight files hold the same bytes, without hashing either unless that was done before."""

import os
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from formats import file_sha256

CHUNK = 1 << 20


class Content:
    """The content of a file, as a dictionary's key: two are equal exactly when their bytes are.

    Digests decide where both are known. Elsewhere the bytes are compared, which for two different vectors ends within
    the first megabytes, where hashing would read both to their ends.
    """

    def __init__(self, path: Path, sha256: str | None = None) -> None:
        self.path = path
        if sha256 is not None:
            self.sha256 = sha256

    @cached_property
    def sha256(self) -> str:
        """The digest of the file; given, or computed once."""
        return file_sha256(self.path)

    @cached_property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @property
    def is_hashed(self) -> bool:
        """Whether the digest is known."""
        return "sha256" in self.__dict__

    def __hash__(self) -> int:
        return hash(self.size)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Content):
            return NotImplemented
        if self.path == other.path:
            return True
        if self.size != other.size:
            return False
        if self.is_hashed and other.is_hashed:
            return self.sha256 == other.sha256
        return _equal(self.path, other.path)

    def __repr__(self) -> str:
        return f"Content({str(self.path)!r})"


def _equal(left: Path, right: Path) -> bool:
    """Whether two files of one size hold the same bytes; the ends first, since headers agree more often than data."""
    with left.open("rb") as a, right.open("rb") as b:
        if _tail(a) != _tail(b):
            return False
        while chunk := a.read(CHUNK):
            if chunk != b.read(CHUNK):
                return False
    return True


def _tail(file: BinaryIO) -> bytes:
    file.seek(-min(CHUNK, file.seek(0, os.SEEK_END)), os.SEEK_END)
    tail = file.read()
    file.seek(0)
    return tail

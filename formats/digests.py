"""The identities of a file's content, from one streaming pass.

    sha256       the whole file; changes with any edit of the header
    blake3       the whole file, faster
    data_sha256  the data section; survives an edit of the header
    tensor_hash  BLAKE3 over the tensors sorted by name, each as name, dtype, shape and own BLAKE3; survives reordering
    short        what other tools and sites know the file by (formats.short_hashes)

data_sha256 and tensor_hash exist for safetensors files alone, and not where there is nothing to hash. The fourth level,
which survives a change of the layout, needs the module table of a base: formats.layout_hash, made from `tensors`.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from blake3 import blake3

from formats.broadcast import Consumer, broadcast
from formats.errors import FileChanged, HeaderError
from formats.header import Header, read_header
from formats.short_hashes import AUTOV2_DIGITS, ShortHashes, claimed_hashes

AS_JSON = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Digests:
    """Lower-case hexadecimal digests and the size in bytes.

    `short` maps the kinds of formats.short_hashes to their values; `tensors` the name of each tensor to its BLAKE3.
    """

    sha256: str
    blake3: str
    data_sha256: str | None
    tensor_hash: str | None
    size: int
    short: Mapping[str, str] = field(default_factory=dict, hash=False)
    tensors: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    @property
    def autov2(self) -> str:
        """The first ten digits of the file's sha256."""
        return self.sha256[:AUTOV2_DIGITS]

    @property
    def disputed(self) -> tuple[str, ...]:
        """The kinds of `short` that the header claims and the data section denies: it was changed after hashing."""
        claim = self.short.get("sshs_model")
        if claim is None or self.data_sha256 is None or self.data_sha256.startswith(claim):
            return ()
        return ("autov3", "sshs_model")

    def to_json(self) -> dict[str, Any]:
        """The digests as a JSON object, those of single tensors apart."""
        return {
            "sha256": self.sha256,
            "blake3": self.blake3,
            "data_sha256": self.data_sha256,
            "tensor_hash": self.tensor_hash,
            "size": self.size,
            "autov2": self.autov2,
            "short": dict(self.short),
            "disputed": list(self.disputed),
        }


def digest(path: Path | str, sink: Consumer | None = None, header: Header | None = None) -> Digests:
    """All digests of the file `path`, which is read once in constant memory, the hashes overlapping.

    `sink` is given every chunk too, in order: `digest(source, copy.write)` copies while it hashes. `header` is for a
    caller who has read it, and sees to it that the file is still the same. A file that is no safetensors file has no
    data_sha256 and no tensor_hash. Raises FileChanged when it is written to meanwhile, and OSError where it cannot be
    read.
    """
    path = Path(path)
    with path.open("rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if header is None:
            with contextlib.suppress(HeaderError):
                header = read_header(path)
        digests = _digest(file, before.st_size, header, [] if sink is None else [sink])
        after, now = os.fstat(file.fileno()), path.stat()
    size = header.file_size if header else before.st_size
    if not digests.size == size == before.st_size or not _mark(before) == _mark(after) == _mark(now):
        raise FileChanged(
            f"{path}: changed while it was read: {digests.size:,} of {size:,} bytes. Wait until it is complete, "
            "then try again."
        )
    return digests


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, streamed."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tensors(header: Header) -> dict[str, str]:
    """The BLAKE3 of each tensor's bytes, by name, from one pass over the data section."""
    tensors = _Tensors(header)
    with header.path.open("rb", buffering=0) as file:
        read = broadcast(file, header.file_size, [tensors.update])
    if read != header.file_size:
        raise FileChanged(
            f"{header.path}: changed while it was read: {read:,} of {header.file_size:,} bytes. Try again."
        )
    return tensors.contents()


def _digest(file: BinaryIO, size: int, header: Header | None, sinks: list[Consumer]) -> Digests:
    sha256, whole, short = hashlib.sha256(), blake3(), ShortHashes()
    consumers: list[Consumer] = [*sinks, sha256.update]
    if header is None:
        read = broadcast(file, size, [*consumers, _in_turn(whole.update, short.update)])
        return Digests(sha256.hexdigest(), whole.hexdigest(), None, None, read, short.computed())
    section, tensors = _Section(header.data_start), _Tensors(header)
    read = broadcast(file, size, [*consumers, section.update, _in_turn(whole.update, short.update, tensors.update)])
    contents = tensors.contents()
    return Digests(
        sha256.hexdigest(),
        whole.hexdigest(),
        section.sha256.hexdigest() if header.file_size > header.data_start else None,
        _tensor_hash(header, contents) if contents else None,
        read,
        short.computed() | claimed_hashes(header.metadata),
        contents,
    )


def _in_turn(*consumers: Consumer) -> Consumer:
    """Consumers that together take about as long as SHA-256 does, on one thread: what it has read is near then."""

    def consume(chunk: memoryview) -> None:
        for one in consumers:
            one(chunk)

    return consume


def _mark(status: os.stat_result) -> tuple[int, ...]:
    """What differs when a file was written to or another took its name."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class _Section:
    """SHA-256 of what follows the first `start` bytes."""

    def __init__(self, start: int) -> None:
        self.sha256 = hashlib.sha256()
        self._left = start

    def update(self, chunk: memoryview) -> None:
        """Take the next bytes of the file."""
        self.sha256.update(chunk[self._left :])
        self._left = max(0, self._left - len(chunk))


class _Tensors:
    """BLAKE3 of each tensor of a file that passes through, in the order in which they lie in it."""

    def __init__(self, header: Header) -> None:
        specs = sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end))
        self._names = [name for name, _ in specs]
        self._ends = [header.data_start + spec.end for _, spec in specs]
        self._position, self._skip = 0, header.data_start
        self._done: list[str] = []
        self._current = blake3()

    def update(self, chunk: memoryview) -> None:
        """Take the next bytes of the file."""
        offset = min(len(chunk), max(0, self._skip - self._position))
        while len(self._done) < len(self._ends) and offset < len(chunk):
            part = chunk[offset : self._ends[len(self._done)] - self._position]
            self._current.update(part)
            offset += len(part)
            self._close(self._position + offset)
        self._position += len(chunk)

    def contents(self) -> dict[str, str]:
        """The digest of every tensor that was seen whole, by name."""
        self._close(self._position)
        return dict(zip(self._names, self._done, strict=False))

    def _close(self, position: int) -> None:
        """End the tensors that end at `position`, those without a byte among them."""
        while len(self._done) < len(self._ends) and self._ends[len(self._done)] <= position:
            self._done.append(self._current.hexdigest())
            self._current = blake3()


def _tensor_hash(header: Header, contents: Mapping[str, str]) -> str:
    """BLAKE3 over one line `["name","dtype",[shape],"blake3"]` a tensor, in the order of the names."""
    whole = blake3()
    for name in sorted(contents):
        spec = header.tensors[name]
        line = AS_JSON.encode([name, spec.dtype, list(spec.shape), contents[name]])
        whole.update(line.encode("ascii") + b"\n")
    return whole.hexdigest()

"""The identities of a file's content, from one streaming pass.

    sha256       the whole file; changes with any edit of the header
    blake3       the whole file, faster
    data_sha256  the data section; survives an edit of the header
    tensor_hash  BLAKE3 over the tensors sorted by name, each as name, dtype, shape and own BLAKE3; survives reordering

The last two exist for safetensors files alone.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from blake3 import blake3

from formats.errors import HeaderError
from formats.header import Header, read_header

CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Digests:
    """Lower-case hexadecimal digests and the size in bytes."""

    sha256: str
    blake3: str
    data_sha256: str | None
    tensor_hash: str | None
    size: int

    def to_json(self) -> dict[str, str | int | None]:
        """The digests as a JSON object."""
        return asdict(self)


class _Whole:
    """Digests of everything that passes through."""

    def __init__(self) -> None:
        self.sha256 = hashlib.sha256()
        self.blake3 = blake3()
        self.size = 0

    def chunks(self, file: BinaryIO, length: int | None = None) -> Iterator[bytes]:
        """The next `length` bytes of `file` (all when None), each chunk digested before it is handed on."""
        left = length
        while left is None or left > 0:
            chunk = file.read(CHUNK_BYTES if left is None else min(CHUNK_BYTES, left))
            if not chunk:
                return
            self.sha256.update(chunk)
            self.blake3.update(chunk)
            self.size += len(chunk)
            left = None if left is None else left - len(chunk)
            yield chunk


def digest(path: Path | str) -> Digests:
    """All digests of the file `path`. A file that is no safetensors file has no data_sha256 and no tensor_hash."""
    path = Path(path)
    try:
        header = read_header(path)
    except HeaderError:
        header = None
    with path.open("rb") as file:
        return _digest_bytes(file) if header is None else _digest_tensors(file, header)


def _digest_bytes(file: BinaryIO) -> Digests:
    whole = _Whole()
    for _ in whole.chunks(file):
        continue
    return Digests(whole.sha256.hexdigest(), whole.blake3.hexdigest(), None, None, whole.size)


def _digest_tensors(file: BinaryIO, header: Header) -> Digests:
    whole, section = _Whole(), hashlib.sha256()
    for _ in whole.chunks(file, header.data_start):
        continue
    content: dict[str, str] = {}
    for name, spec in sorted(header.tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        one = blake3()
        for chunk in whole.chunks(file, spec.end - spec.start):
            section.update(chunk)
            one.update(chunk)
        content[name] = one.hexdigest()
    if whole.size != header.file_size:
        raise HeaderError(
            f"{header.path}: changed while it was read: {whole.size:,} of {header.file_size:,} bytes. Try again."
        )
    hashed = _tensor_hash(header, content)
    return Digests(whole.sha256.hexdigest(), whole.blake3.hexdigest(), section.hexdigest(), hashed, whole.size)


def _tensor_hash(header: Header, content: dict[str, str]) -> str:
    """BLAKE3 over one line `["name","dtype",[shape],"blake3"]` a tensor, in the order of the names."""
    whole = blake3()
    for name in sorted(header.tensors):
        spec = header.tensors[name]
        line = json.dumps([name, spec.dtype, list(spec.shape), content[name]], separators=(",", ":"))
        whole.update(line.encode("ascii") + b"\n")
    return whole.hexdigest()

"""The residual of a bake on disk: with the baked base and the same sum it gives the base back, bit for bit.

A safetensors file. For each tensor that the bake changed, `low/NAME` holds the low digits of its bits (arithmetic.
baking.bits), `index/NAME` and `value/NAME` the few elements that are kept whole; or `whole/NAME` all its bits, where
that is less. NAME is folder and key within the base. `file/NAME` holds the header of each weight file of the base, and
any index of shards, byte for byte. The metadata hold the digests of base and baked files and of every changed tensor.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

from arithmetic.baking.bits import Digits
from arithmetic.baking.output import tensor_bytes
from arithmetic.baking.sheets import Entry
from arithmetic.baking.writing import Residue
from arithmetic.errors import NotRestored
from formats import FormatError, read_header

RESIDUAL_KEY = "tauworks.residual"
VERSION = 1
BYTES_A_PIECE = 160
"""More than a tensor's entry in a header takes beside its name."""

TAGS = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
}


@dataclass(frozen=True)
class BaseRecord:
    """What the base was: SHA-256, size and header of its weight files by name, and its indexes of shards whole."""

    digests: Mapping[str, str]
    sizes: Mapping[str, int]
    headers: Mapping[str, bytes]
    indexes: Mapping[str, bytes]


class ResidualWriter:
    """Appends what it is given; the header, for which room was left, is written last."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file = file
        self._room = room
        self._tensors: dict[str, dict[str, object]] = {}
        self._digests: dict[str, str] = {}
        self._position = 0
        file.seek(8 + room)

    def add(self, residue: Residue) -> None:
        """Append what one tensor of the base needs."""
        name = residue.entry.name
        self._digests[name] = residue.blake3
        if isinstance(residue.kept, Tensor):
            self._append(f"whole/{name}", residue.kept)
            return
        for piece, tensor in residue.kept.pieces.items():
            if piece == "low" or tensor.numel():
                self._append(f"{piece}/{name}", tensor)

    def finish(self, base: BaseRecord, baked: Mapping[str, str]) -> None:
        """Append the base's headers, write the residual's own, and bring all of it to the disk."""
        for name, content in {**base.headers, **base.indexes}.items():
            self._append(f"file/{name}", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        said = {
            "version": VERSION,
            "base": {name: [base.digests[name], base.sizes[name]] for name in base.headers},
            "indexes": sorted(base.indexes),
            "baked": dict(baked),
            "tensors": self._digests,
        }
        document = {"__metadata__": {RESIDUAL_KEY: json.dumps(said, sort_keys=True)}, **self._tensors}
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + text + b" " * (self._room - len(text)))
        self._file.flush()
        os.fsync(self._file.fileno())

    def _append(self, name: str, tensor: Tensor) -> None:
        content = tensor_bytes(tensor.contiguous())
        end = self._position + len(content)
        offsets = [self._position, end]
        self._tensors[name] = {"dtype": TAGS[tensor.dtype], "shape": [tensor.numel()], "data_offsets": offsets}
        self._file.write(content)
        self._position = end


@contextmanager
def residual_writer(
    path: Path, entries: Iterable[Entry], base: BaseRecord, baked_files: int
) -> Iterator[ResidualWriter]:
    """Create `path` for the residue of the tensors `entries`, where the bake has so many weight files."""
    names = [len(json.dumps(entry.name)) for entry in entries]
    names += [len(json.dumps(name)) for name in {**base.headers, **base.indexes}]
    room = 4096 + sum(5 * length + 3 * BYTES_A_PIECE + 80 for length in names) + 200 * baked_files
    with path.open("xb") as file:
        yield ResidualWriter(file, room + -room % 8)


@dataclass(frozen=True)
class Residual:
    """A residual that was opened; tensors are read when asked for."""

    path: Path
    base: Mapping[str, tuple[str, int]]
    """Name -> SHA-256 and size of a weight file of the base."""
    indexes: tuple[str, ...]
    baked: Mapping[str, str]
    tensors: Mapping[str, str]

    def content(self, name: str) -> bytes:
        """The header of a weight file of the base, or a whole index of shards."""
        return bytes(tensor_bytes(self._reader.get_tensor(f"file/{name}")))

    def digits(self, name: str, dtype: torch.dtype) -> Digits | None:
        """What is kept of a tensor's digits; None where it is kept whole."""
        if f"low/{name}" not in self._names:
            return None
        low: Tensor = self._reader.get_tensor(f"low/{name}")
        if f"index/{name}" not in self._names:
            return Digits(low, torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=dtype))
        return Digits(low, *(self._reader.get_tensor(f"{piece}/{name}") for piece in ("index", "value")))

    def whole(self, name: str, dtype: torch.dtype) -> Tensor:
        """All bits of a tensor, as `dtype`."""
        bits: Tensor = self._reader.get_tensor(f"whole/{name}")
        return bits.view(dtype)

    @cached_property
    def _reader(self) -> Any:
        return safe_open(str(self.path), framework="pt", device="cpu")

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._reader.keys())


def open_residual(path: Path | str) -> Residual:
    """Raises NotRestored for a file that is no residual."""
    path = Path(path)
    try:
        said = json.loads(read_header(path).metadata[RESIDUAL_KEY])
        if said["version"] != VERSION:
            raise ValueError(f"version {said['version']}, expected {VERSION}")
        base = {name: (str(sha256), int(size)) for name, (sha256, size) in said["base"].items()}
        return Residual(path, base, tuple(said["indexes"]), said["baked"], said["tensors"])
    except (FormatError, KeyError, TypeError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: ").rstrip(".")
        raise NotRestored(f"{path}: not a residual: {reason}. Name the file that the bake wrote beside it.") from error

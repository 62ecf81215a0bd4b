"""Writes a safetensors file tensor by tensor: room for the header is kept first, its words follow last."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from arithmetic.files.writeout import WriteOut
from formats.header import DTYPE_BITS

TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
HEADER_ALIGNMENT = 8


class Slot(NamedTuple):
    """One tensor of the file to come: its key, its dtype as safetensors spells it, its shape.

    Where `is_limit`, the shape is the largest that the tensor can have: its rank is found while the file is written.
    """

    key: str
    tag: str
    shape: tuple[int, ...]
    is_limit: bool = False

    @property
    def size(self) -> int:
        """Bytes."""
        elements = 1
        for extent in self.shape:
            elements *= extent
        return elements * DTYPE_BITS[self.tag] // 8

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a tensor of `shape` can stand here."""
        if not self.is_limit:
            return shape == self.shape
        return len(shape) == len(self.shape) and all(got <= most for got, most in zip(shape, self.shape, strict=True))


@dataclass
class TensorStream:
    """Takes the tensors of `slots` in their order and appends them to an open file."""

    file: BinaryIO
    slots: Sequence[Slot]
    metadata: Mapping[str, str]
    written: list[Slot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._room = len(header_bytes(self.slots, self.metadata))
        self._out = WriteOut(self.file.fileno())
        self.file.write(b" " * self._room)
        self.file.flush()

    def write(self, key: str, *parts: Tensor) -> None:
        """Append the next tensor, given whole or as slices along its first axis.

        Raises ValueError when it is not the one that the header announced.
        """
        slot = self.slots[len(self.written)] if len(self.written) < len(self.slots) else None
        first = parts[0]
        shape = (sum(part.shape[0] for part in parts), *first.shape[1:]) if first.ndim else ()
        is_one = all(part.dtype == first.dtype and part.shape[1:] == first.shape[1:] for part in parts)
        is_due = slot is not None and slot.key == key and slot.takes(shape) and TORCH_DTYPES[slot.tag] == first.dtype
        if slot is None or not (is_one and is_due):
            raise ValueError(f"{key}: {first.dtype} {list(shape)}, the header announced {slot}.")
        for part in parts:
            self._out.write(raw_bytes(part))
        self.written.append(Slot(key, slot.tag, shape))

    def finish(self) -> None:
        """Write the header and bring everything to the disk. Raises ValueError where an announced tensor is missing."""
        if len(self.written) < len(self.slots):
            missing = self.slots[len(self.written)]
            raise ValueError(f"{missing.key}: announced in the header and never written.")
        header = header_bytes(self.written, self.metadata, room=self._room)
        if len(header) != self._room:
            raise ValueError(f"the header takes {len(header)} bytes, {self._room} were kept for it.")
        os.pwrite(self.file.fileno(), header, 0)
        self.close()
        os.fsync(self.file.fileno())

    def close(self) -> None:
        """Wait for what is on its way to the disk."""
        self._out.finish()


@contextmanager
def tensor_stream(path: Path, slots: Sequence[Slot], metadata: Mapping[str, str]) -> Iterator[TensorStream]:
    """Create `path` with room for the header of `slots`; on leaving, every tensor was written and is on the disk."""
    with path.open("xb") as file:
        stream = TensorStream(file, slots, metadata)
        try:
            yield stream
            stream.finish()
        finally:
            stream.close()


def raw_bytes(tensor: Tensor) -> memoryview:
    """The tensor's elements as bytes, without a copy where they lie in order."""
    flat: memoryview = tensor.contiguous().flatten().view(torch.uint8).numpy().data
    return flat


def header_bytes(slots: Sequence[Slot], metadata: Mapping[str, str], *, room: int = 0) -> bytes:
    """The length and JSON header, padded with spaces to `room` bytes and so that the data is aligned to 8 bytes."""
    document: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    position = 0
    for slot in slots:
        document[slot.key] = {
            "dtype": slot.tag,
            "shape": list(slot.shape),
            "data_offsets": [position, position + slot.size],
        }
        position += slot.size
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (max(room - 8 - len(text), 0) or -len(text) % HEADER_ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def write_text(path: Path, text: str) -> None:
    """Create a small file and bring it to the disk."""
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Bring a rename inside `folder` to the disk, where the system lets folders be opened."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

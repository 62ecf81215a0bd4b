"""Writes a safetensors file tensor by tensor: the header comes first, so every shape is known before the first byte."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from torch import Tensor

from formats.header import DTYPE_BITS

TORCH_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64}
HEADER_ALIGNMENT = 8


class Slot(NamedTuple):
    """One tensor of the file to come: its key, its dtype as safetensors spells it, its shape."""

    key: str
    tag: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        elements = 1
        for extent in self.shape:
            elements *= extent
        return elements * DTYPE_BITS[self.tag] // 8


class TensorStream:
    """Takes the tensors of `slots` in their order and appends them to an open file."""

    def __init__(self, file: BinaryIO, slots: Sequence[Slot], metadata: Mapping[str, str]) -> None:
        self._file = file
        self._slots = iter(slots)
        file.write(header_bytes(slots, metadata))

    def write(self, key: str, tensor: Tensor) -> None:
        """Append the next tensor. Raises ValueError when it is not the one that the header announced."""
        slot = next(self._slots, None)
        if slot is None or (slot.key, slot.shape, TORCH_DTYPES[slot.tag]) != (key, tuple(tensor.shape), tensor.dtype):
            raise ValueError(f"{key}: {tensor.dtype} {list(tensor.shape)}, the header announced {slot}.")
        self._file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().data)

    def finish(self) -> None:
        """Raises ValueError when an announced tensor was never written."""
        missing = next(self._slots, None)
        if missing is not None:
            raise ValueError(f"{missing.key}: announced in the header and never written.")


@contextmanager
def tensor_stream(path: Path, slots: Sequence[Slot], metadata: Mapping[str, str]) -> Iterator[TensorStream]:
    """Create `path` with the header of `slots`; on leaving, every tensor was written and is on the disk."""
    with path.open("xb") as file:
        stream = TensorStream(file, slots, metadata)
        yield stream
        stream.finish()
        file.flush()
        os.fsync(file.fileno())


def header_bytes(slots: Sequence[Slot], metadata: Mapping[str, str]) -> bytes:
    """The length and JSON header, padded with spaces so that the data section is aligned to 8 bytes."""
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
    text += b" " * (-len(text) % HEADER_ALIGNMENT)
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

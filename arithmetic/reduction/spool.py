"""Tensors that are computed once and asked for again: kept on the disk, not in memory."""

import os
import tempfile
import threading
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor


class Spool:
    """A temporary file without a name, gone with this object; its methods may be called from several threads."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, list[tuple[torch.dtype, torch.Size]]]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def put(self, name: str, tensors: Sequence[Tensor]) -> None:
        """Keep `tensors`; what is already kept under `name` stays."""
        content = b"".join(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for tensor in tensors)
        with self._lock:
            if name in self._places:
                return
            start, self._end = self._end, self._end + len(content)
        done = 0
        while done < len(content):
            done += os.pwrite(self._file.fileno(), memoryview(content)[done:], start + done)
        with self._lock:
            self._places.setdefault(name, (start, [(tensor.dtype, tensor.shape) for tensor in tensors]))

    def get(self, name: str) -> list[Tensor]:
        """What was kept, bit for bit."""
        start, kinds = self._places[name]
        found = []
        for dtype, shape in kinds:
            count = shape.numel() * dtype.itemsize
            tensor = torch.empty(shape, dtype=dtype)
            os.preadv(self._file.fileno(), [tensor.view(-1).view(torch.uint8).numpy().data], start)
            found.append(tensor)
            start += count
        return found

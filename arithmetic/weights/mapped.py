"""A safetensors file in memory without being read: tensors are windows on the file's own pages."""

import mmap
import sys
from functools import cached_property

import torch
from torch import Tensor

from arithmetic.errors import AlgebraError
from formats import Header

TORCH_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""The dtypes that weights can be summed in or to."""


class MappedFile:
    """The data section of `header`'s file. Its pages are the system's cache, never this process's own memory."""

    def __init__(self, header: Header) -> None:
        self.header = header

    def tensor(self, key: str) -> Tensor:
        """The tensor as stored; writing into it changes no file.

        Raises:
            AlgebraError: a dtype that cannot be summed: integers, 8-bit floats.
        """
        spec = self.header.tensors[key]
        if spec.dtype not in TORCH_DTYPES:
            raise AlgebraError(
                f"{self.header.path.name}: {key}: {spec.dtype} cannot be summed, expected one of "
                f"{', '.join(TORCH_DTYPES)}. Use the base in one of them."
            )
        dtype = TORCH_DTYPES[spec.dtype]
        if spec.elements == 0:
            return torch.empty(spec.shape, dtype=dtype)
        start = self.header.data_start + spec.start
        if start % dtype.itemsize:
            return torch.frombuffer(bytearray(self.raw(key)), dtype=dtype).reshape(spec.shape)
        return torch.frombuffer(self._map, dtype=dtype, count=spec.elements, offset=start).reshape(spec.shape)

    def raw(self, key: str) -> memoryview:
        """The bytes of one tensor."""
        spec = self.header.tensors[key]
        return self.section(spec.start, spec.end)

    def section(self, start: int, end: int) -> memoryview:
        """The bytes from `start` to `end` of the data section."""
        return memoryview(self._map)[self.header.data_start + start : self.header.data_start + end]

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.header.path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if sys.platform == "linux":
            mapped.madvise(mmap.MADV_SEQUENTIAL)
        return mapped

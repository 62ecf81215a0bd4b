"""The number formats of an output and what each rounding may cost."""

from enum import StrEnum

import torch


class Precision(StrEnum):
    """How the factors of an output are stored."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"

    @property
    def dtype(self) -> torch.dtype:
        """As torch calls it."""
        return _DTYPES[self]

    @property
    def tag(self) -> str:
        """As a safetensors header calls it."""
        return _TAGS[self]

    @property
    def bound(self) -> float:
        """The largest relative arithmetic error that rounding the factors once explains."""
        return _BOUNDS[self]

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return float(torch.finfo(self.dtype).max)


_DTYPES = {Precision.FP32: torch.float32, Precision.FP16: torch.float16, Precision.BF16: torch.bfloat16}
_TAGS = {Precision.FP32: "F32", Precision.FP16: "F16", Precision.BF16: "BF16"}
_BOUNDS = {Precision.FP32: 1e-6, Precision.FP16: 2e-3, Precision.BF16: 2e-2}

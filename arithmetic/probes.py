"""Random probe vectors: the same for a module, whichever modules were probed before it."""

import hashlib

import torch
from torch import Tensor


def probe_vectors(width: int, count: int, seed: int, module: str) -> Tensor:
    """(width, count) standard normal numbers in float64 that follow from the seed and the module's name."""
    digest = hashlib.sha256(f"{seed}\0{module}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.randn(width, count, generator=generator, dtype=torch.float64)

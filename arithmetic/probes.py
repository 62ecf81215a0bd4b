"""Random probe vectors: the same for a module, whichever modules were probed before it."""

import torch
from torch import Tensor

from arithmetic.randomness import generator_for


def probe_vectors(width: int, count: int, seed: int, module: str) -> Tensor:
    """(width, count) standard normal numbers in float64 that follow from the seed and the module's name."""
    return torch.randn(width, count, generator=generator_for(seed, module), dtype=torch.float64)

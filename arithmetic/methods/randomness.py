"""Random numbers that follow from a recipe's seed and the module alone."""

import hashlib

import torch
from torch import Tensor


def generator_for(seed: int, module: str) -> torch.Generator:
    """A CPU generator for one module: the same for the same seed and name, whatever was drawn before or elsewhere.

    Modules can then be merged in any order and by any number of threads.
    """
    digest = hashlib.sha256(f"{seed}\n{module}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def kept_at_random(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Bernoulli(p) for each entry, as a mask of the same shape.

    The uniform numbers are drawn in float64 on the generator's device and then moved, so that every device sees the
    same mask.
    """
    drawn = torch.rand(probabilities.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return drawn.to(probabilities.device) < probabilities

"""Random masks: which entries of a delta stay."""

import torch
from torch import Tensor


def kept_at_random(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Bernoulli(p) for each entry, as a mask of the same shape.

    The uniform numbers are drawn in float64 on the generator's device and then moved, so that every device sees the
    same mask.
    """
    drawn = torch.rand(probabilities.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return drawn.to(probabilities.device) < probabilities

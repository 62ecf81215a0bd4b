"""Magnitude pruning: small entries are left out, the rest is summed."""

from collections.abc import Sequence

from torch import Tensor

from arithmetic.methods.consensus import summed
from arithmetic.methods.sparsity import largest


def magnitude(deltas: Sequence[Tensor], weights: Sequence[float], *, density: float) -> Tensor:
    """sum_i w_i topk(D_i): of each delta the int(density * m * N) entries of largest magnitude.

    Source: the trim step of TIES, arXiv 2306.01708; PEFT calls it magnitude_prune. Entrywise: the result is full rank.

    Args:
        deltas: (m, N) each.
        weights: w_i; scaling them all scales the result.
        density: in (0, 1]; 1 is the plain weighted sum. At least one entry stays; equal magnitudes by position.

    Returns:
        (m, N) in the dtype of the deltas.
    """
    return summed([largest(delta, density) for delta in deltas], weights)

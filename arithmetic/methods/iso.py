"""Isotropic merging: the sum's directions, all with the same strength."""

from collections.abc import Sequence

from torch import Tensor

from arithmetic.methods.consensus import summed
from arithmetic.methods.spectrum import spectrum


def iso(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Iso-C: sum_i w_i D_i = U S V^T becomes mean(S) U V^T.

    Source: arXiv 2502.04959, section 4. The mean is over the non-zero spectrum: the paper's matrices are full rank; for
    low-rank deltas a mean over min(m, N) values would shrink the result by rank / min(m, N). Singular values below
    1e-10 of the largest count as zero, so a vector and its fp16 copy, whose difference lies far above that, count as
    two.

    Args:
        deltas: (m, N) each, float64.
        weights: w_i.

    Returns:
        (m, N) in float64, of the rank of the sum; homogeneous in the weights, and invariant under isometries on either
        side.
    """
    total = summed(deltas, weights)
    u, sigma, vh = spectrum(total)
    return (u @ vh) * sigma.mean() if sigma.numel() else total

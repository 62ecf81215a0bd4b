"""Task singular vectors: each delta's leading directions, made orthogonal to the others'."""

from collections.abc import Sequence

import torch
from torch import Tensor

from arithmetic.methods.consensus import summands
from arithmetic.methods.spectrum import Spectrum, joint_columns, nearest_isometry, spectrum


def tsv(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """TSV-M: concatenate the leading singular triplets of each w_i D_i and replace their U and V by the nearest
    orthogonal matrices.

    Source: arXiv 2412.00081, section 4.2: U = [U_1 | ...], V likewise, S = diag(S_1, ...); out = U' S V'^T with
    U' = P Q^T of the SVD U = P . Q^T (Procrustes).

    The paper keeps 1/T of the spectrum of each of T full-rank deltas. Here each keeps the share R / sum_i r_i of its
    rank r_i, at least one direction, where R is the dimension of the joint span: 1/T for full-rank deltas, everything
    for independent low-rank ones. A direction that the concatenation has twice is kept once (a partial isometry), so
    that identical deltas stay what they are. The rank of the result is at most R.

    Args:
        deltas: (m, N) each, float64.
        weights: w_i, folded into the singular values.

    Returns:
        (m, N) in float64; homogeneous in the weights, and invariant under isometries on either side.
    """
    parts = [spectrum(term) for term in summands(deltas, weights)]
    ranks = [part.rank for part in parts]
    if sum(ranks) == 0:
        return torch.zeros_like(deltas[0])
    span = _span(parts)
    kept = [part.leading(max(1, part.rank * span // sum(ranks))) for part in parts if part.rank]
    u = nearest_isometry(torch.cat([part.u for part in kept], dim=1))
    vh = nearest_isometry(torch.cat([part.vh for part in kept], dim=0))
    return (u * torch.cat([part.sigma for part in kept])) @ vh


def _span(parts: Sequence[Spectrum]) -> int:
    """The smaller of the dimensions that all left and all right singular vectors span."""
    columns = joint_columns([part.u for part in parts]).shape[1]
    return min(columns, joint_columns([part.vh.T for part in parts]).shape[1])

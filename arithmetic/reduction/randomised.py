"""The leading singular triplets of a matrix by a randomised range finder.

Halko, Martinsson, Tropp 2011 (SIAM Review 53), algorithms 4.4 and 5.1: Y = A Omega, orthonormalised between the power
iterations, catches the range of the leading k vectors with a few columns more; the SVD of Q^T A is then a small one.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.reduction.core import canonical_signs

OVERSAMPLING = 16
POWER_ITERATIONS = 2

WORTH_IT = 3
"""Below this many sampled columns to the shorter side, the exact decomposition costs no more."""


class Triplets(NamedTuple):
    """A ~ U diag(s) V^T: u (m, k), s (k,) in float64 and falling, vt (k, n)."""

    u: Tensor
    s: Tensor
    vt: Tensor

    def leading(self, rank: int) -> "Triplets":
        """The first `rank` of them."""
        return Triplets(self.u[:, :rank], self.s[:rank], self.vt[:rank])

    def balanced(self) -> tuple[Tensor, Tensor]:
        """(up, down) = (U sqrt(s), sqrt(s) V^T), in the dtype of u."""
        root = self.s.sqrt().to(self.u.dtype)
        return self.u * root, self.vt * root[:, None]


def randomised_svd(
    matrix: Tensor,
    rank: int,
    *,
    generator: torch.Generator,
    oversampling: int = OVERSAMPLING,
    power_iterations: int = POWER_ITERATIONS,
) -> Triplets:
    """The leading `rank` triplets of `matrix` (m, n), exact ones where sampling would save nothing.

    The products are taken in the matrix's dtype, the small decomposition in float64. Signs are canonical.

    Args:
        matrix: float32 or float64.
        rank: at most min(m, n) are returned.
        generator: of the sampling matrix.
        oversampling: columns that are sampled beyond `rank`.
        power_iterations: more of them tell apart singular values that fall slowly.
    """
    rank = min(rank, *matrix.shape)
    sampled = rank + oversampling
    if sampled * WORTH_IT >= min(matrix.shape):
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
        return canonical(Triplets(u, s.to(torch.float64), vt).leading(rank))
    omega = torch.randn(matrix.shape[1], sampled, generator=generator, dtype=torch.float64).to(matrix.dtype)
    basis = _orthonormal(matrix @ omega)
    for _ in range(power_iterations):
        basis = _orthonormal(matrix @ _orthonormal(matrix.T @ basis))
    right, core = torch.linalg.qr(matrix.T @ basis)
    u, s, vt = torch.linalg.svd(core.T.to(torch.float64), full_matrices=False)
    found = Triplets(basis @ u.to(matrix.dtype), s, vt.to(matrix.dtype) @ right.T)
    return canonical(found.leading(rank))


def canonical(triplets: Triplets) -> Triplets:
    """The same product, in each triplet u's largest entry positive: signs do not depend on how it was computed."""
    u, s, vt = triplets
    signs = canonical_signs(u)
    return Triplets(u * signs, s, vt * signs[:, None])


def _orthonormal(columns: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(columns).Q
    return basis

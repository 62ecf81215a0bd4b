"""Singular value decompositions that know which directions are there at all."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NEGLIGIBLE = 1e-10  # of the largest singular value: below it lies rounding, whose directions mean nothing


class Spectrum(NamedTuple):
    """D = u diag(sigma) vh: u (m, k), sigma (k,) descending, vh (k, N); k is the numerical rank, 0 for zero."""

    u: Tensor
    sigma: Tensor
    vh: Tensor

    @property
    def rank(self) -> int:
        """k."""
        return self.sigma.numel()

    def leading(self, count: int) -> "Spectrum":
        """The first `count` directions."""
        return Spectrum(self.u[:, :count], self.sigma[:count], self.vh[:count])


def spectrum(matrix: Tensor) -> Spectrum:
    """The thin SVD of (m, N) without the directions of singular values up to 1e-10 of the largest."""
    u, sigma, vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((sigma > NEGLIGIBLE * sigma[:1]).sum())
    return Spectrum(u, sigma, vh).leading(rank)


def joint_columns(matrices: Sequence[Tensor]) -> Tensor:
    """The left singular vectors of [D_1 | D_2 | ...]: (m, k), an orthonormal basis of all columns, by weight.

    By QR of the transpose first: the long side takes no part in the SVD.
    """
    triangle = torch.linalg.qr(torch.cat(tuple(matrices), dim=1).T, mode="r").R
    return spectrum(triangle.T).u


def nearest_isometry(matrix: Tensor) -> Tensor:
    """The orthogonal Procrustes solution U V^T of matrix = U S V^T, on the directions that are there."""
    parts = spectrum(matrix)
    return parts.u @ parts.vh

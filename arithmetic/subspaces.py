"""How the spaces that two low-rank deltas act on lie to each other, from Gram matrices alone.

An orthonormal basis of the span of factors X (d, r) follows from X^T X, so that everything below happens in r
dimensions: the factors of length d are read once, for their Gram matrices.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.grams import Grams

NEGLIGIBLE = 1e-5
"""Directions with a smaller part than this of the strongest one's energy are none: half precision loses them."""


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis Q (d, k) of the span of X (d, r), negligible directions left out."""

    coordinates: Tensor
    """(k, r): X = Q coordinates."""
    whitening: Tensor
    """(r, k): Q = X whitening."""


@dataclass(frozen=True)
class Directions:
    """The leading singular directions of a delta: in the bases of its columns and of its rows."""

    columns: Tensor
    """(k_b, k)."""
    rows: Tensor
    """(k_a, k)."""

    @property
    def count(self) -> int:
        """k."""
        return self.columns.shape[1]


@dataclass(frozen=True)
class Spaces:
    """The spans of one delta's up (columns) and down (rows)."""

    columns: Basis
    rows: Basis

    def leading(self, share: float) -> Directions:
        """The fewest singular directions of up @ down that hold `share` of its energy.

        From the eigenvectors of the core times its transpose, which is half the work of an SVD and, above NEGLIGIBLE
        squared, as good.
        """
        core = self.columns.coordinates @ self.rows.coordinates.T
        energies, vectors = torch.linalg.eigh(core @ core.T)
        energies, vectors = energies.flip(0), vectors.flip(1)
        reached = energies.cumsum(0)
        kept = int((reached < share * (1 - 1e-12) * reached[-1:]).sum().item()) + 1
        kept = min(kept, int((energies > NEGLIGIBLE**2 * energies[:1]).sum().item()))
        columns = vectors[:, :kept]
        return Directions(columns, core.T @ columns / energies[:kept].sqrt())


def spaces_of(own: Grams) -> Spaces:
    """The spans of a delta, of its Gram matrices with itself."""
    return Spaces(_basis(own.up), _basis(own.down))


def cosines(left: Basis, right: Basis, cross: Tensor) -> Tensor:
    """The cosines of the principal angles between two spans, ascending; `cross` is X^T X' (r, r').

    Bjorck and Golub 1973: the singular values of Q^T Q', here from the smaller of the two products with its transpose.
    """
    product = left.whitening.T @ cross @ right.whitening
    small = product if product.shape[0] <= product.shape[1] else product.T
    squares: Tensor = torch.linalg.eigvalsh(small @ small.T)
    return squares.clamp(min=0.0, max=1.0).sqrt()


def energy_inside(directions: Directions, spaces: Spaces, cross: Grams, scale: float) -> float:
    """||U U^T dW' V V^T||_F^2 of another delta, U and V being the leading directions of the one in `spaces`.

    `cross` holds B^T B' (r, r') and A A'^T (r, r'); `scale` is the other delta's.
    """
    left = directions.columns.T @ (spaces.columns.whitening.T @ cross.up)
    right = directions.rows.T @ (spaces.rows.whitening.T @ cross.down)
    return (left @ right.T).square().sum().item() * scale**2


def _basis(gram: Tensor) -> Basis:
    """Of X^T X (r, r): by Cholesky where every direction surely counts, else by its eigenvectors.

    With X^T X = L L^T the smallest eigenvalue is at least 1 / ||L^-1||_F^2, the largest at most the trace.
    """
    lower, failed = torch.linalg.cholesky_ex(gram)
    if not failed.item():
        inverse = torch.linalg.solve_triangular(lower, torch.eye(len(gram), dtype=gram.dtype), upper=False)
        if inverse.square().sum() * gram.trace() * NEGLIGIBLE < 1:
            return Basis(lower.T, inverse.T)
    energies, vectors = torch.linalg.eigh(gram)
    kept = energies > NEGLIGIBLE * energies[-1].clamp(min=0)
    roots, vectors = energies[kept].sqrt(), vectors[:, kept]
    return Basis(roots[:, None] * vectors.T, vectors / roots)

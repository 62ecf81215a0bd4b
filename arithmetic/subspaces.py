"""How the spaces that two low-rank deltas act on lie to each other, from Gram matrices alone.

For factors X (d, r) with X^T X = V L V^T the columns of X V L^(-1/2) are an orthonormal basis of the span, so that
everything below happens in r dimensions: the factor of length d was read once, for its Gram matrices.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from arithmetic.grams import Grams

NEGLIGIBLE = 1e-5
"""Directions with a smaller part than this of the strongest one's energy are none: half precision loses them."""


@dataclass(frozen=True)
class Basis:
    """An orthonormal basis of the span of X, X^T X being vectors diag(energies) vectors^T without negligible parts."""

    vectors: Tensor
    """(r, k)."""
    energies: Tensor
    """(k,), ascending."""

    @property
    def coordinates(self) -> Tensor:
        """(k, r): X in this basis."""
        return self.energies.sqrt()[:, None] * self.vectors.T

    @property
    def whitening(self) -> Tensor:
        """(r, k): X @ whitening is the basis."""
        return self.vectors / self.energies.sqrt()


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

    @cached_property
    def spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """U (k_b, k), singular values (k,) and V^T (k, k_a) of up @ down in its own bases."""
        core = self.columns.coordinates @ self.rows.coordinates.T
        u, sigma, vt = torch.linalg.svd(core, full_matrices=False)
        return u, sigma, vt

    def leading(self, share: float) -> Directions:
        """The fewest singular directions that hold `share` of the energy."""
        u, sigma, vt = self.spectrum
        energy = sigma.square().cumsum(0)
        kept = int((energy < share * energy[-1] * (1 - 1e-12)).sum().item()) + 1 if len(energy) else 0
        return Directions(u[:, :kept], vt[:kept].T)


def spaces_of(own: Grams) -> Spaces:
    """The spans of a delta, of its Gram matrices with itself."""
    return Spaces(_basis(own.up), _basis(own.down))


def cosines(left: Basis, right: Basis, cross: Tensor) -> Tensor:
    """The cosines of the principal angles between two spans, descending; `cross` is X^T X' (r, r').

    Bjorck and Golub 1973: the singular values of Q^T Q'.
    """
    found: Tensor = torch.linalg.svdvals(left.whitening.T @ cross @ right.whitening)
    return found.clamp(max=1.0)


def energy_inside(directions: Directions, spaces: Spaces, cross: Grams, scale: float) -> float:
    """||U U^T dW' V V^T||_F^2 of another delta, U and V being the leading directions of the one in `spaces`.

    `cross` holds B^T B' (r, r') and A A'^T (r, r'); `scale` is the other delta's.
    """
    left = directions.columns.T @ (spaces.columns.whitening.T @ cross.up)
    right = directions.rows.T @ (spaces.rows.whitening.T @ cross.down)
    return (left @ right.T).square().sum().item() * scale**2


def _basis(gram: Tensor) -> Basis:
    energies, vectors = torch.linalg.eigh(gram)
    kept = energies > NEGLIGIBLE * energies[-1].clamp(min=0)
    return Basis(vectors[:, kept], energies[kept])

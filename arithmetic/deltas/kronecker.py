"""LoKr: dW = scale * first (x) second, each whole or factored (KronA, Edalati et al. 2022; LyCORIS `lokr_*`).

A Kronecker product of products is a product of Kronecker products, (A B) (x) (C D) = (A (x) C) (B (x) D): whatever
splits the two in two splits their product without loss, a whole matrix as itself times the identity.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.deltas.factored import Factored, lossless_rank
from arithmetic.deltas.low_rank import LowRank, shaped
from arithmetic.deltas.products import product, widened

Side = Tensor | Factored
"""w1 (a, b), or w2 (c, d[, k, k])."""


@dataclass(frozen=True)
class Kronecker:
    """dW = scale * w1 (x) w2 of a weight of `shape` (a c, b d[, k, k])."""

    first: Side
    second: Side
    scale: float
    shape: tuple[int, ...]

    @property
    def rank(self) -> int | None:
        """The product of the smallest ranks of w1 and w2 as they are; None where it is not below min(m, n*k*k)."""
        (a, b), (c, d) = _size(self.first), _size(self.second)
        return lossless_rank(_smallest_rank(self.first) * _smallest_rank(self.second), (a * c, b * d))

    def low_rank(self) -> LowRank | None:
        """kron(A, C) and kron(B, D), in float64; None where `rank` is."""
        if self.rank is None:
            return None
        (A, B), (C, D) = _split(self.first), _split(self.second)
        return shaped(_kron(A, C), _kron(B, D), self.scale, self.shape)

    def dense(self) -> Tensor:
        """(m, n*k*k) in float64."""
        return torch.kron(_dense(self.first), _dense(self.second)) * self.scale

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64, w2 on each of b slices, then w1 across them."""
        (a, b), (c, d) = _size(self.first), _size(self.second)
        slices = probes.reshape(b, d, -1).transpose(0, 1).reshape(d, -1)
        inner = _apply(self.second, slices).reshape(c, b, -1).transpose(0, 1).reshape(b, -1)
        return _apply(self.first, inner).reshape(a * c, -1) * self.scale


def _size(side: Side) -> tuple[int, int]:
    return side.shape if isinstance(side, Factored) else (side.shape[0], side[0].numel())


def _smallest_rank(side: Side) -> int:
    """That of its factors, or of the identity beside it."""
    least = min(_size(side))
    return min(side.rank, least) if isinstance(side, Factored) else least


def _split(side: Side) -> tuple[Tensor, Tensor]:
    """Two matrices of which `side` is the product, over its smallest rank."""
    if isinstance(side, Factored) and side.rank < min(side.shape):
        return side.pair()
    whole = side.dense() if isinstance(side, Factored) else side.flatten(1)
    identity = torch.eye(min(whole.shape), dtype=whole.dtype)
    return (whole, identity) if whole.shape[1] <= whole.shape[0] else (identity, whole)


def _kron(one: Tensor, other: Tensor) -> Tensor:
    return torch.kron(widened(one), widened(other))


def _dense(side: Side) -> Tensor:
    return side.dense() if isinstance(side, Factored) else widened(side.flatten(1))


def _apply(side: Side, probes: Tensor) -> Tensor:
    return side.apply(probes) if isinstance(side, Factored) else product(side.flatten(1), probes)

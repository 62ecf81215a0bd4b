"""Inner products of low-rank deltas from their small Gram matrices, without forming a dense one.

With dW = s B A and dW' = s' B' A',

    <dW, dW'>_F = s s' tr((B^T B') (A' A^T)) = s s' sum((B^T B') * (A A'^T))

in O((m + n) r r') instead of O(m n r).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.deltas import Delta

DOUBTFUL = 1e-2
"""Where a squared norm is a smaller part than this of its Gram matrices' norms, its terms cancel: float64 decides."""


class Grams(NamedTuple):
    """B^T B' (r, r') and A A'^T (r, r') of two deltas, float64, and the product of their scales."""

    up: Tensor
    down: Tensor
    scale: float

    @property
    def inner(self) -> float:
        """<dW, dW'>_F."""
        return (self.up * self.down).sum().item() * self.scale

    @property
    def mirrored(self) -> "Grams":
        """Those of the two deltas in the other order."""
        return Grams(self.up.T, self.down.T, self.scale)


@dataclass(frozen=True)
class Matrices:
    """dW = scale * up @ down: up (m, r) and down (r, n), both float32 or both float64."""

    up: Tensor
    down: Tensor
    scale: float

    def widened(self) -> "Matrices":
        """The same in float64."""
        return Matrices(self.up.double(), self.down.double(), self.scale)


def matrices_of(delta: Delta) -> Matrices | None:
    """The factors of a delta as they are multiplied; None where it has none.

    float16 factors come in float32, where each product of two of them is exact and a sum of thousands is off by 3e-7;
    all others in float64.
    """
    factors = delta.low_rank()
    if factors is None:
        return None
    is_half = factors.up.dtype is factors.down.dtype is torch.float16
    dtype = torch.float32 if is_half else torch.float64
    return Matrices(factors.up.flatten(1).to(dtype), factors.down.flatten(1).to(dtype), factors.scale)


def own_grams(factors: Matrices) -> tuple[Matrices, Grams]:
    """The Gram matrices of a delta with itself, whose inner product is its squared norm, and the factors they are of:
    in float64 where float32 would not tell.
    """
    found = grams(factors, factors)
    whole = (found.up.norm() * found.down.norm()).item()
    if factors.up.dtype is torch.float64 or (found.up * found.down).sum().item() >= DOUBTFUL * whole:
        return factors, found
    wide = factors.widened()
    return wide, grams(wide, wide)


def grams(left: Matrices, right: Matrices) -> Grams:
    """The Gram matrices of two deltas of one module, multiplied in float32 only where both are."""
    if left.up.dtype is not right.up.dtype:
        left, right = left.widened(), right.widened()
    up, down = left.up.T @ right.up, left.down @ right.down.T
    return Grams(up.double(), down.double(), left.scale * right.scale)

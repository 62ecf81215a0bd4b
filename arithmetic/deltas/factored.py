"""A weight that is kept as a product of two matrices, or of three with Tucker's core between them.

M = left @ right                                    left (m, r), right (r, n*k*k)
M[o, i, h, w] = sum_pq core[p, q, h, w] left[o, p] right[q, i]      core (p, q, k, k): Tucker (1966), as LyCORIS has it
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.deltas.products import product, widened


@dataclass(frozen=True)
class Factored:
    """left (m, p) and right (q, n[, k, k]), with p = q where there is no core (p, q, k, k)."""

    left: Tensor
    right: Tensor
    core: Tensor | None = None

    @property
    def rank(self) -> int:
        """p: the columns of `left`."""
        return self.left.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n*k*k)."""
        kernel = 1 if self.core is None else self.core[0, 0].numel()
        return self.left.shape[0], self.right[0].numel() * kernel

    def pair(self) -> tuple[Tensor, Tensor]:
        """(m, p) and (p, n*k*k) of the same product: as stored, the second in float64 where a core went into it."""
        left, right = self.left.flatten(1), self.right.flatten(1)
        if self.core is None:
            return left, right
        through = torch.einsum("pqk,qi->pik", widened(self.core.flatten(2)), widened(right))
        return left, through.flatten(1)

    def dense(self) -> Tensor:
        """(m, n*k*k) in float64."""
        left, right = self.pair()
        return product(left, widened(right))

    def apply(self, probes: Tensor) -> Tensor:
        """M @ probes: (n*k*k, p) float64 to (m, p) float64."""
        left, right = self.pair()
        return product(left, product(right, probes))


def lossless_rank(rank: int, shape: tuple[int, int]) -> int | None:
    """`rank`, or None where a matrix of (m, n) takes no more room than its factors: rank >= min(m, n)."""
    return rank if rank < min(shape) else None

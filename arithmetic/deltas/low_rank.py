"""A low-rank delta, dW = scale * up @ down, in float64 where it is computed with."""

import math
from dataclasses import dataclass

from torch import Tensor

from arithmetic.deltas.products import product, widened
from arithmetic.errors import ShapeMismatch
from formats import ModuleSpec


@dataclass(frozen=True)
class LowRank:
    """dW = scale * up @ down: up (m, r) or (m, r, 1, 1), down (r, n) or (r, n, k, k)."""

    up: Tensor
    down: Tensor
    scale: float

    @property
    def rank(self) -> int:
        """r."""
        return self.down.shape[0]

    def low_rank(self) -> "LowRank":
        """Itself."""
        return self

    def matrices(self) -> tuple[Tensor, Tensor]:
        """scale * up as (m, r) and down as (r, n*k*k), in float64."""
        up = widened(self.up).flatten(1)
        return up if self.scale == 1 else up * self.scale, widened(self.down).flatten(1)

    def dense(self) -> Tensor:
        """scale * up @ down: (m, n*k*k) in float64."""
        up, down = self.matrices()
        return up @ down

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64, without forming dW."""
        return product(self.up.flatten(1), product(self.down.flatten(1), probes)) * self.scale


def fitted(factors: LowRank, spec: ModuleSpec, where: str) -> LowRank:
    """`factors` in the shapes of the module: a linear layer stored as 1x1 convolution, or the reverse, is the same map.

    Raises:
        ShapeMismatch: the factors are of another size.
    """
    up, down, rank = factors.up, factors.down, factors.rank
    if (
        up.shape[:2] != (spec.shape[0], rank)
        or up.numel() != spec.shape[0] * rank
        or down.numel() != rank * width(spec)
    ):
        raise ShapeMismatch(
            f"{where}: up {list(up.shape)} and down {list(down.shape)} do not fit "
            f"a module of shape {list(spec.shape)}. Use a vector made for this base."
        )
    up = up.reshape(spec.shape[0], rank, *(1 for _ in spec.shape[2:]))
    return LowRank(up, down.reshape(rank, *spec.shape[1:]), factors.scale)


def shaped(up: Tensor, down: Tensor, scale: float, shape: tuple[int, ...]) -> LowRank:
    """up (m, r) and down (r, n*k*k) as factors of a weight of `shape`, with the kernel that it has."""
    rank = down.shape[0]
    return LowRank(up.reshape(shape[0], rank, *(1 for _ in shape[2:])), down.reshape(rank, *shape[1:]), scale)


def width(spec: ModuleSpec) -> int:
    """n, or n*k*k for a convolution: the columns of the module's weight as a matrix."""
    return math.prod(spec.shape[1:])

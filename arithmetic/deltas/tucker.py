"""LoCon's convolution with a core: dW = scale * up x core x down (LyCORIS, `lora_mid`)."""

from dataclasses import dataclass

from torch import Tensor

from arithmetic.deltas.factored import Factored, lossless_rank
from arithmetic.deltas.low_rank import LowRank, shaped


@dataclass(frozen=True)
class Tucker:
    """dW[o, i, h, w] = scale * sum_pq core[p, q, h, w] up[o, p] down[q, i], of a weight of `shape` (m, n, k, k)."""

    factors: Factored
    scale: float
    shape: tuple[int, ...]

    @property
    def rank(self) -> int | None:
        """p: the core goes into down. None where that is not below min(m, n*k*k)."""
        return lossless_rank(self.factors.rank, self.factors.shape)

    def low_rank(self) -> LowRank | None:
        """up as stored, (core x down) in float64; None where `rank` is."""
        return None if self.rank is None else shaped(*self.factors.pair(), self.scale, self.shape)

    def dense(self) -> Tensor:
        """(m, n*k*k) in float64."""
        return self.factors.dense() * self.scale

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64."""
        return self.factors.apply(probes) * self.scale

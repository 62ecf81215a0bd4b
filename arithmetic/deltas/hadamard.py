"""LoHa: dW = scale * (first * second), entry by entry (FedPara, Hyeon-Woo et al. 2021; LyCORIS `hada_*`)."""

from dataclasses import dataclass

from torch import Tensor

from arithmetic.deltas.factored import Factored, lossless_rank
from arithmetic.deltas.low_rank import LowRank, shaped
from arithmetic.deltas.products import widened


@dataclass(frozen=True)
class Hadamard:
    """dW = scale * (A1 B1) * (A2 B2) of a weight of `shape`; its rank is at most r1 r2."""

    first: Factored
    second: Factored
    scale: float
    shape: tuple[int, ...]

    @property
    def rank(self) -> int | None:
        """r1 r2; None where that is not below min(m, n*k*k)."""
        return lossless_rank(self.first.rank * self.second.rank, self.first.shape)

    def low_rank(self) -> LowRank | None:
        """The Khatri-Rao products of the factors, in float64, which holds products of float32 exactly.

        up[:, (i, j)] = A1[:, i] A2[:, j] and down[(i, j), :] = B1[i, :] B2[j, :]; None where `rank` is.
        """
        if self.rank is None:
            return None
        (A1, B1), (A2, B2) = self.first.pair(), self.second.pair()
        up = (widened(A1)[:, :, None] * widened(A2)[:, None, :]).flatten(1)
        down = (widened(B1)[:, None, :] * widened(B2)[None, :, :]).flatten(0, 1)
        return shaped(up, down, self.scale, self.shape)

    def dense(self) -> Tensor:
        """(m, n*k*k) in float64."""
        return self.first.dense() * self.second.dense() * self.scale

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64, by the factors where these are the smaller."""
        factors = self.low_rank()
        return self.dense() @ probes if factors is None else factors.apply(probes)

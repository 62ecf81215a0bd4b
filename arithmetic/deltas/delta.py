"""What every delta of one module can do, whatever adapter kind it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor

if TYPE_CHECKING:
    from arithmetic.deltas.low_rank import LowRank


class Delta(Protocol):
    """dW of one module as a matrix of (m, n), for a convolution (m, n*k*k); nothing is dense until asked for."""

    @property
    def rank(self) -> int | None:
        """The rank of its lossless factors; None where it is kept as a matrix."""

    def low_rank(self) -> LowRank | None:
        """Its lossless factors; None where it is kept as a matrix."""

    def dense(self) -> Tensor:
        """(m, n*k*k) in float64."""

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64."""

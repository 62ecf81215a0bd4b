"""A delta that is kept as a matrix, where an operation or an adapter kind needs one."""

from dataclasses import dataclass

from torch import Tensor

from arithmetic.deltas.products import product, widened


@dataclass(frozen=True)
class Dense:
    """dW = scale * matrix: (m, n) or (m, n*k*k), in any floating dtype."""

    matrix: Tensor
    scale: float = 1.0

    @property
    def rank(self) -> None:
        """None: it has no factors."""
        return None

    def low_rank(self) -> None:
        """None: it has no factors."""

    def dense(self) -> Tensor:
        """scale * matrix in float64."""
        return widened(self.matrix) * self.scale

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64."""
        return product(self.matrix, probes) * self.scale

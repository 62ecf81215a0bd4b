"""A delta that is kept as a matrix, where an operation or an adapter kind needs one."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Dense:
    """dW = scale * matrix: (m, n) or (m, n*k*k), in any floating dtype."""

    matrix: Tensor
    scale: float = 1.0

    @property
    def rank(self) -> None:
        """None: it has no factors."""
        return None

    def dense(self) -> Tensor:
        """scale * matrix in float64."""
        return self.matrix.to(torch.float64) * self.scale

    def apply(self, probes: Tensor) -> Tensor:
        """dW @ probes: (n*k*k, p) float64 to (m, p) float64."""
        return (self.matrix.to(torch.float64) @ probes) * self.scale

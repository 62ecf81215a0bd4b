"""The shared coordinates of several low-rank deltas: two orthonormal bases, and a small matrix for each delta."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.deltas import LowRank


@dataclass(frozen=True)
class CoreSpace:
    """D_t = left @ cores[t] @ right^T, without loss: left (m, p), right (N, q), cores (p, q), all float64.

    p = min(m, R) and q = min(N, R) for R the sum of the ranks; the columns of left and of right are orthonormal.
    """

    left: Tensor
    right: Tensor
    cores: tuple[Tensor, ...]

    def lifted(self, core: Tensor) -> LowRank:
        """left @ core @ right^T as factors: up (m, min(p, q)), down (min(p, q), N), scale 1."""
        if core.shape[0] < core.shape[1]:
            return LowRank(self.left, core @ self.right.T, 1.0)
        return LowRank(self.left @ core, self.right.T, 1.0)


def core_space(factors: Sequence[LowRank]) -> CoreSpace:
    """The coordinates that all of `factors` share, by QR in float64; ranks may differ, nothing is dense.

    Source: Core Space, arXiv 2509.17786, with QR for the SVD of the stacked factors: any orthonormal basis of the same
    span is as lossless. [B_1 | B_2 | ...] = Q_B T_B and [A_1; A_2; ...]^T = Q_A T_A give
    D_t = Q_B (s_t T_B[:, t] T_A[:, t]^T) Q_A^T.

    Args:
        factors: up (m, r_t[, 1, 1]) and down (r_t, n[, k, k]); N = n * k * k.
    """
    pairs = [part.matrices() for part in factors]
    ranks = [part.rank for part in factors]
    left, columns = torch.linalg.qr(torch.cat([up for up, _ in pairs], dim=1))
    right, rows = torch.linalg.qr(torch.cat([down for _, down in pairs], dim=0).T)
    halves = zip(columns.split(ranks, dim=1), rows.split(ranks, dim=1), strict=True)
    return CoreSpace(left, right, tuple(column @ row.T for column, row in halves))

"""The optimal low-rank approximation of a sum of factors, without forming the matrix.

With B = [lambda_i s_i B_i] (m, R) and A = [A_i] (R, n): B = Q_b R_b, A^T = Q_a R_a, and the SVD of the small core
R_b R_a^T = U S V^T gives B A = (Q_b U) S (Q_a V)^T, whose first k terms are the best of rank k (Eckart and Young 1936).
Cost O((m + n) R^2 + R^3). Nothing is clamped: the factors carry sqrt(S) each.

Where the columns of B are far from dependent, R_b comes from the Cholesky factor of B^T B, and Q_b x = B (R_b^-1 x) is
formed for the k columns that are kept alone: a third of the work of Householder's QR, which is taken elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.deltas import LowRank, shaped
from arithmetic.reduction.rules import Rule

INDEPENDENT = 0.03
"""The sine of the least angle between a column and those before it at which Cholesky's factor is as good as QR's."""

NEGLIGIBLE = 1e-14
"""Singular values below this part of the largest are rounding of float64."""


@dataclass(frozen=True)
class Spectrum:
    """All singular values (k,) of a module's unreduced delta, descending, float64, and how many were kept."""

    sigma: Tensor
    kept: int

    @property
    def error(self) -> float:
        """The relative Frobenius error of what was kept: sqrt(sum_{i>kept} sigma_i^2 / sum sigma_i^2)."""
        total = self.sigma.norm().item()
        return self.sigma[self.kept :].norm().item() / total if total else 0.0


def reduce(delta: LowRank, rules: Sequence[Rule], device: str = "cpu") -> tuple[LowRank, Spectrum]:
    """The best approximation of `delta` that every rule allows, computed in float64.

    Args:
        delta: up (m, R[, 1, 1]), down (R, n[, k, k]).
        rules: applied in order, each to what the one before left.
        device: where to compute; it must have float64.

    Returns:
        up (m, k[, 1, 1]) and down (k, n[, k, k]) in float64 on the CPU with scale 1, k >= 1, and the spectrum. Signs
        are canonical: the largest entry of each column of up is positive.
    """
    up, down = delta.matrices()
    of_columns, of_rows = Basis.of(up.to(device)), Basis.of(down.to(device).T)
    u, sigma, vt = torch.linalg.svd(of_columns.upper @ of_rows.upper.T, full_matrices=False)
    kept = count(sigma, rules)
    root = sigma[:kept].sqrt()
    new_up, new_down = of_columns.times(u[:, :kept] * root), of_rows.times(vt[:kept].T * root).T
    signs = canonical_signs(new_up)
    new_up, new_down = (new_up * signs).cpu(), (new_down * signs[:, None]).cpu()
    lowered = shaped(new_up, new_down, 1.0, (new_up.shape[0], *delta.down.shape[1:]))
    return lowered, Spectrum(sigma.cpu(), kept)


@dataclass(frozen=True)
class Basis:
    """Orthonormal columns Q of columns (m, r) = Q R, never formed where the columns themselves do as well."""

    columns: Tensor
    """B where `is_implicit`, so that Q = B R^-1; else Q."""
    upper: Tensor
    """R (min(m, r), r)."""
    is_implicit: bool

    @classmethod
    def of(cls, columns: Tensor) -> "Basis":
        """Of columns (m, r) in float64.

        How far a column stands out of the space of those before it is L_ii / ||b_i|| in the Cholesky factor L of
        B^T B, whatever the columns' lengths; rounding grows with its inverse square.
        """
        if columns.shape[0] >= columns.shape[1]:
            gram = columns.T @ columns
            factor, failed = torch.linalg.cholesky_ex(gram)
            if not failed and bool((factor.diagonal() >= INDEPENDENT * gram.diagonal().sqrt()).all()):
                return cls(columns, factor.T, is_implicit=True)
        basis, upper = torch.linalg.qr(columns)
        return cls(basis, upper, is_implicit=False)

    def times(self, x: Tensor) -> Tensor:
        """Q x: (min(m, r), k) -> (m, k)."""
        return self.columns @ (torch.linalg.solve_triangular(self.upper, x, upper=True) if self.is_implicit else x)

    def coordinates(self, y: Tensor) -> Tensor:
        """Q^T y: (m, k) -> (min(m, r), k)."""
        inner = self.columns.T @ y
        return torch.linalg.solve_triangular(self.upper.T, inner, upper=False) if self.is_implicit else inner


def count(sigma: Tensor, rules: Sequence[Rule]) -> int:
    """How many singular values the rules keep, at least one; none that is rounding."""
    kept = int((sigma > NEGLIGIBLE * sigma[0]).sum().item()) if len(sigma) else 0
    for rule in rules:
        kept = min(kept, rule.keep(sigma[:kept]))
    return max(kept, 1)


def canonical_signs(up: Tensor) -> Tensor:
    """(m, k) -> (k,) of +-1: what makes the largest entry of each column positive."""
    largest = up.gather(0, up.abs().argmax(dim=0, keepdim=True)).squeeze(0)
    return torch.where(largest < 0, -1.0, 1.0).to(up.dtype)

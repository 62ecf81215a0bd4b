"""How many singular values to keep, module by module."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ROUNDING = 1e-6
"""How far a file's rounding may move an error or a share of energy."""


class Rule(Protocol):
    """A count of singular values (k,), given in descending order, float64."""

    def keep(self, sigma: Tensor) -> int:
        """How many of the leading ones stay."""

    @property
    def left_out(self) -> float:
        """The share of ||D||_F^2 that may be left out; 0 where the rule says a rank."""

    def most(self, rank: int) -> int:
        """The most that can stay of `rank`, before any is known."""

    def is_met(self, rank: int, error: float, rounding: float) -> bool:
        """Whether a result of this rank and relative Frobenius error keeps to the rule, as far as its dtype can."""


@dataclass(frozen=True)
class RankAtMost:
    """rank(N): the N largest."""

    rank: int

    def keep(self, sigma: Tensor) -> int:
        """min(N, k)."""
        return min(self.rank, len(sigma))

    @property
    def left_out(self) -> float:
        """0: it says a rank."""
        return 0.0

    def most(self, rank: int) -> int:
        """min(N, rank)."""
        return min(self.rank, rank)

    def is_met(self, rank: int, error: float, rounding: float) -> bool:
        """rank <= N."""
        return rank <= self.rank


@dataclass(frozen=True)
class EnergyKept:
    """energy(x): the fewest whose squares add up to x of all squares."""

    share: float

    def keep(self, sigma: Tensor) -> int:
        """The first k with sum_{i<=k} sigma_i^2 >= x sum sigma_i^2; all for x = 1."""
        squares = sigma.square()
        if self.share >= 1 or squares.sum() == 0:
            return len(sigma)
        return int((squares.cumsum(0) < self.share * squares.sum()).sum().item()) + 1

    @property
    def left_out(self) -> float:
        """1 - x."""
        return 1 - self.share

    def most(self, rank: int) -> int:
        """All."""
        return rank

    def is_met(self, rank: int, error: float, rounding: float) -> bool:
        """1 - error^2 >= x - rounding^2."""
        return 1 - error**2 >= self.share - rounding**2 - ROUNDING


@dataclass(frozen=True)
class ErrorAtMost:
    """error(e): the fewest that leave a relative Frobenius error of at most e."""

    bound: float

    def keep(self, sigma: Tensor) -> int:
        """The first k with sqrt(sum_{i>k} sigma_i^2) <= e sqrt(sum sigma_i^2) (Eckart and Young 1936)."""
        tails = sigma.square().flip(0).cumsum(0).flip(0)
        tails = torch.cat([tails, tails.new_zeros(1)])
        return int((tails > self.bound**2 * tails[0]).sum().item())

    @property
    def left_out(self) -> float:
        """e^2."""
        return self.bound**2

    def most(self, rank: int) -> int:
        """All."""
        return rank

    def is_met(self, rank: int, error: float, rounding: float) -> bool:
        """error <= sqrt(e^2 + rounding^2)."""
        return error <= math.hypot(self.bound, rounding) + ROUNDING

"""How the leading directions of a matrix are sampled: the same for a module, whatever was sampled before it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.randomness import generator_for
from arithmetic.reduction.randomised import OVERSAMPLING, POWER_ITERATIONS, Triplets, randomised_svd

SEED = 0

FIRST_RANK = 32
"""What is tried first where a share of the energy or an error is asked for; doubled until it is enough."""

FINE_BELOW = 1e-5
"""Share of ||D||^2 to leave out below which float32 cannot tell how much is kept."""

BLOCK_ROWS = 256


@dataclass(frozen=True)
class Sampling:
    """How the range of a matrix is found; `seed` and a module's name decide what is sampled."""

    oversampling: int = OVERSAMPLING
    power_iterations: int = POWER_ITERATIONS
    seed: int = SEED

    def triplets(self, matrix: Tensor, rank: int, module: str) -> Triplets:
        """The leading `rank` triplets of a module's matrix."""
        return randomised_svd(
            matrix,
            rank,
            generator=generator_for(self.seed, module),
            oversampling=self.oversampling,
            power_iterations=self.power_iterations,
        )

    def triplets_within(self, matrix: Tensor, left_out: float, module: str) -> Triplets:
        """The fewest leading triplets that leave out at most that share of ||D||_F^2."""
        if left_out < FINE_BELOW:
            matrix = matrix.to(torch.float64)
        wanted, rank = (1 - left_out) * square_norm(matrix), FIRST_RANK
        while True:
            found = self.triplets(matrix, rank, module)
            enough = int(((found.s**2).cumsum(0) < wanted).sum()) + 1
            if enough <= len(found.s) or rank >= min(matrix.shape):
                return found.leading(enough)
            rank *= 2


def square_norm(matrix: Tensor) -> float:
    """||D||_F^2, summed in float64."""
    return math.fsum(float(matrix[rows].to(torch.float64).norm() ** 2) for rows in blocks(matrix))


def blocks(matrix: Tensor) -> Iterator[slice]:
    """Rows of (m, n), few at a time."""
    for first in range(0, matrix.shape[0], BLOCK_ROWS):
        yield slice(first, first + BLOCK_ROWS)

"""How sparse deltas become one: their weighted sum, or the entries that agree with an elected sign.

Three tools elect and divide differently under the one name TIES; each is a function here.
"""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor


class Consensus(StrEnum):
    """What is made of the entries that stayed."""

    LINEAR = "linear"
    TIES = "ties"


def summed(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sum_i w_i D_i: (m, N), in the order given."""
    total = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights, strict=True):
        total += weight * delta
    return total


def elected_by_sum(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """The TIES paper's election, with PEFT's weights: gamma = sgn(sum_i D_i), then the mean of w_i D_i that agree.

    sum_i w_i D_i [sgn D_i = gamma] / #{i: sgn D_i = gamma}; gamma = +1 where the sum is 0. Weights do not vote.
    """
    sign = _sign(sum(deltas, torch.zeros_like(deltas[0])))
    return _average(deltas, summands(deltas, weights), [1.0] * len(deltas), sign)


def elected_by_weighted_sum(deltas: Sequence[Tensor], weights: Sequence[float], *, is_normalized: bool) -> Tensor:
    """mergekit's election: gamma = sgn(sum_i w_i D_i), then the sum of w_i D_i that agree, over their weights.

    sum_i w_i D_i [sgn w_i D_i = gamma] / sum_i w_i [sgn w_i D_i = gamma], without the division unless `is_normalized`;
    gamma = +1 where the sum is 0, and a divisor of 0 counts as 1.
    """
    weighted = summands(deltas, weights)
    sign = _sign(sum(weighted, torch.zeros_like(deltas[0])))
    if is_normalized:
        return _average(weighted, weighted, weights, sign)
    return sum(((term.sign() == sign) * term for term in weighted), torch.zeros_like(sign))


def elected_by_count(deltas: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sd-mecha's election: gamma = sgn(sum_i sgn(w_i D_i)), then the mean of w_i D_i that agree; 0 where none leads."""
    weighted = summands(deltas, weights)
    sign = sum((term.sign() for term in weighted), torch.zeros_like(deltas[0])).sign()
    return _average(weighted, weighted, [1.0] * len(weighted), sign)


def summands(deltas: Sequence[Tensor], weights: Sequence[float]) -> list[Tensor]:
    """w_i D_i."""
    return [weight * delta for delta, weight in zip(deltas, weights, strict=True)]


def _sign(votes: Tensor) -> Tensor:
    """+1 or -1; a draw is +1."""
    return torch.where(votes >= 0, 1.0, -1.0).to(votes.dtype)


def _average(voters: Sequence[Tensor], terms: Sequence[Tensor], shares: Sequence[float], sign: Tensor) -> Tensor:
    """The sum of the terms whose voter agrees with `sign`, over the sum of their shares; over 1 where that is 0."""
    total, divisor = torch.zeros_like(sign), torch.zeros_like(sign)
    for voter, term, share in zip(voters, terms, shares, strict=True):
        agrees = voter.sign() == sign
        total += agrees * term
        divisor += agrees * share
    return total / torch.where(divisor == 0, 1.0, divisor)

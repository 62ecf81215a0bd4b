"""DARE: drop entries at random, rescale the rest."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from arithmetic.methods.consensus import Consensus, elected_by_sum, elected_by_weighted_sum, summed
from arithmetic.methods.randomness import kept_at_random
from arithmetic.methods.sparsity import rescaled_to


class DareDialect(StrEnum):
    """Whose DARE."""

    PEFT = "peft"
    MERGEKIT = "mergekit"


def dare(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    generator: torch.Generator,
    density: float,
    dialect: str = DareDialect.PEFT,
    consensus: str = Consensus.LINEAR,
) -> Tensor:
    """Each entry of each delta stays with probability `density`; what stays is rescaled, then summed or elected.

    Source: arXiv 2311.03099, D * Bernoulli(p) / p. Entrywise: the result is full rank.

    peft (0.21, the default) divides by the density: E[out] = sum_i w_i D_i for the linear consensus. mergekit (0.1.5)
    rescales to the L1 norm that the delta had: close to that, and biased. With `consensus=ties` the signs are elected
    as the dialect's TIES does, except that mergekit's dare_ties does not divide by the weights (its default).
    sd-mecha's DARE is DELLA with epsilon 0 in its dialect.

    Args:
        deltas: (m, N) each.
        weights: w_i.
        generator: masks are drawn from it in the order of the deltas.
        density: in (0, 1]; 1 keeps everything.
        dialect: peft or mergekit.
        consensus: linear or ties.

    Returns:
        (m, N) in the dtype of the deltas.
    """
    sparse = [_dropped(delta, density, dialect, generator) for delta in deltas]
    if consensus == Consensus.LINEAR:
        return summed(sparse, weights)
    if dialect == DareDialect.MERGEKIT:
        return elected_by_weighted_sum(sparse, weights, is_normalized=False)
    return elected_by_sum(sparse, weights)


def _dropped(delta: Tensor, density: float, dialect: str, generator: torch.Generator) -> Tensor:
    kept = delta * kept_at_random(torch.full_like(delta, density), generator)
    return rescaled_to(kept, delta) if dialect == DareDialect.MERGEKIT else kept / density

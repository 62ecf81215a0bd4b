"""DELLA: drop entries at random, small ones more often, rescale the rest, elect a sign."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor

from arithmetic.errors import MethodRefused
from arithmetic.methods.consensus import Consensus, elected_by_count, elected_by_sum, elected_by_weighted_sum, summed
from arithmetic.methods.randomness import kept_at_random
from arithmetic.methods.sparsity import magnitude_ranks, rescaled_to


class DellaDialect(StrEnum):
    """Whose DELLA."""

    PAPER = "paper"
    MERGEKIT = "mergekit"
    MECHA = "mecha"


def della(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    generator: torch.Generator,
    density: float,
    epsilon: float,
    dialect: str = DellaDialect.PAPER,
    consensus: str = Consensus.TIES,
) -> Tensor:
    """Each entry stays with a probability that rises linearly with its magnitude's rank; then rescale, elect, average.

    Source: arXiv 2406.11617 (MagPrune), p = density - epsilon + 2 epsilon rank, rank from 0 to 1. Entrywise: the result
    is full rank.

    | dialect | ranked within | rescaled by | sign elected as |
    |---|---|---|---|
    | paper | a row | 1/p of the entry: E[sparse D] = D | the TIES paper |
    | mergekit (0.1.5) | a row | the L1 norm of the delta | mergekit's TIES |
    | mecha (sd-mecha 1.1.8) | the whole matrix | 1/density: large entries grow, small ones shrink | its TIES |

    paper is the default: it alone keeps the expectation. mecha stands for ties_sum_with_dropout with della_eps = 2
    epsilon, k = 1 and apply_stock = True (which, in that version, is what leaves its model-stock factor out). A delta
    of one column (a bias) counts as one row.

    Args:
        deltas: (m, N) each.
        weights: w_i.
        generator: masks are drawn from it in the order of the deltas.
        density: in (0, 1]; the mean share that stays. 1 keeps everything, whatever epsilon is.
        epsilon: half the width of the window of probabilities; density -+ epsilon must lie inside (0, 1).
        dialect: paper, mergekit or mecha.
        consensus: ties or linear.

    Returns:
        (m, N) in the dtype of the deltas.

    Raises:
        MethodRefused: the window leaves (0, 1).
    """
    if density < 1 and not 0 < density - epsilon <= density + epsilon < 1:
        raise MethodRefused(
            f"della: density {density:g} -+ epsilon {epsilon:g} leaves the interval (0, 1). "
            f"Use an epsilon below {min(density, 1 - density):g}."
        )
    sparse = [_dropped(delta, density, epsilon, dialect, generator) if density < 1 else delta for delta in deltas]
    if consensus == Consensus.LINEAR:
        return summed(sparse, weights)
    if dialect == DellaDialect.MERGEKIT:
        return elected_by_weighted_sum(sparse, weights, is_normalized=True)
    return elected_by_count(sparse, weights) if dialect == DellaDialect.MECHA else elected_by_sum(sparse, weights)


def keep_probabilities(delta: Tensor, density: float, epsilon: float, dialect: str) -> Tensor:
    """p of every entry, (m, N) in float64; for mecha the window is narrower by one part in m * N."""
    if dialect == DellaDialect.MECHA:
        flat = magnitude_ranks(delta.reshape(1, -1)).reshape(delta.shape)
        return density + epsilon * (2 * flat - 1) * (1 - 1 / delta.numel())
    rows = delta.T if delta.shape[1] == 1 else delta
    return (density - epsilon + 2 * epsilon * magnitude_ranks(rows)).reshape(delta.shape)


def _dropped(delta: Tensor, density: float, epsilon: float, dialect: str, generator: torch.Generator) -> Tensor:
    probabilities = keep_probabilities(delta, density, epsilon, dialect)
    kept = delta * kept_at_random(probabilities, generator)
    if dialect == DellaDialect.MERGEKIT:
        return rescaled_to(kept, delta)
    return kept / (density if dialect == DellaDialect.MECHA else probabilities)

"""TIES: trim, elect a sign, average what agrees. Three tools, three meanings."""

from collections.abc import Sequence
from enum import StrEnum

from torch import Tensor

from arithmetic.methods.consensus import elected_by_count, elected_by_sum, elected_by_weighted_sum
from arithmetic.methods.sparsity import above_quantile, largest


class TiesDialect(StrEnum):
    """Whose TIES."""

    PEFT = "peft"
    MERGEKIT = "mergekit"
    MECHA = "mecha"


def ties(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    density: float,
    dialect: str = TiesDialect.PEFT,
) -> Tensor:
    """Trim each delta to its largest entries, elect a sign for every entry, and average the deltas that agree.

    Source: arXiv 2306.01708. Entrywise: the result is full rank.

    | dialect | stays | sign by | divided by | (2, 1) and (10, 5) |
    |---|---|---|---|---|
    | peft (0.21) | int(density n) | sum of D_i | how many agree | differ five-fold |
    | mergekit (0.1.5) | int(density n) | sum of w_i D_i | the weights that agree | are the same |
    | mecha (sd-mecha 1.1.8) | one more, and equals | sum of sgn(w_i D_i) | how many agree | differ five-fold |

    peft is the default: with equal weights it is the paper's formula, and a weight is a strength (twice the weights,
    twice the result), which mergekit's division undoes. Where a weight is negative, peft lets D_i vote as if it were
    positive; mergekit and mecha (its ties_sum of the deltas w_i D_i) let w_i D_i vote. mecha drops an entry on which
    two deltas disagree, however unequal they are.

    Args:
        deltas: (m, N) each.
        weights: w_i.
        density: in (0, 1]; what stays of each delta.
        dialect: peft, mergekit or mecha.

    Returns:
        (m, N) in the dtype of the deltas.
    """
    if dialect == TiesDialect.MECHA:
        return elected_by_count([above_quantile(delta, density) for delta in deltas], weights)
    trimmed = [largest(delta, density) for delta in deltas]
    if dialect == TiesDialect.MERGEKIT:
        return elected_by_weighted_sum(trimmed, weights, is_normalized=True)
    return elected_by_sum(trimmed, weights)

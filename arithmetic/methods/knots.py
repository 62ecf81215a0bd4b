"""KnOTS: merge in the basis that the singular vectors of all deltas together span."""

from collections.abc import Sequence

from torch import Tensor

from arithmetic.methods.consensus import Consensus
from arithmetic.methods.magnitude import magnitude
from arithmetic.methods.spectrum import joint_columns
from arithmetic.methods.ties import ties


def knots(deltas: Sequence[Tensor], weights: Sequence[float], *, merge: str, density: float) -> Tensor:
    """[D_1 | ... | D_T] = U S [V_1 | ... | V_T]^T; the S V_i^T are merged entry by entry and multiplied by U again.

    Source: arXiv 2410.19735, equations 3-5. S V_i^T = U^T D_i, so that V is never formed.

    A dense method, not a core one: multiplying every D_i by an isometry on the left changes U alone, but one on the
    right turns the S V_i^T, and which of their entries are large depends on it. The result's rank is that of the joint
    span of the columns, at most the sum of the ranks.

    Args:
        deltas: (m, N) each, float64.
        weights: w_i.
        merge: ties (PEFT's election: weights do not vote, as in the authors' code) or linear (the sum of what stays).
        density: in (0, 1]; what stays of each S V_i^T. linear at 1 is the plain weighted sum.

    Returns:
        (m, N) in float64.
    """
    basis = joint_columns(deltas)
    if basis.shape[1] == 0:
        return deltas[0].clone()
    components = [basis.T @ delta for delta in deltas]
    chosen = magnitude if merge == Consensus.LINEAR else ties
    return basis @ chosen(components, weights, density=density)

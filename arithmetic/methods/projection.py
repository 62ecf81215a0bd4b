"""A style without what it says in the acceleration vector's leading directions."""

from collections.abc import Sequence

from torch import Tensor

from arithmetic.methods.spectrum import spectrum


def project(deltas: Sequence[Tensor], weights: Sequence[float], *, k: int) -> Tensor:
    """w_s (D_s - U_k U_k^T D_s V_k V_k^T), with U_k, V_k the first k singular vectors of the acceleration's delta.

    Only what maps the subspace of V_k into that of U_k is removed; with fewer than k directions all are taken. Strict
    orthogonality between vectors has been found not to separate their meanings (arXiv 2510.03262): a tool, no promise.

    Args:
        deltas: the style's delta and the acceleration's, (m, N) each, float64; zeros where a module lacks one.
        weights: the style's, which scales the result, and the acceleration's, which has no effect: a subspace has no
            length.
        k: at least 1.

    Returns:
        (m, N) in float64, of the style's rank plus at most k; invariant under isometries on either side.
    """
    style, acceleration = deltas
    leading = spectrum(acceleration).leading(k)
    inside = leading.u @ (leading.u.T @ style @ leading.vh.T) @ leading.vh
    return weights[0] * (style - inside)

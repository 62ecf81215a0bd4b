"""Entrywise methods in the coordinates that all deltas share, where they cost no rank."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial

import torch
from torch import Tensor

from arithmetic.methods.consensus import summed
from arithmetic.methods.dare import dare
from arithmetic.methods.magnitude import magnitude
from arithmetic.methods.spectrum import joint_columns
from arithmetic.methods.ties import ties


class CoreMerge(StrEnum):
    """What is done to the cores."""

    TIES = "ties"
    DARE = "dare"
    MAGNITUDE = "magnitude"
    LINEAR = "linear"


def core(
    deltas: Sequence[Tensor],
    weights: Sequence[float],
    *,
    generator: torch.Generator,
    merge: str,
    density: float,
) -> Tensor:
    """D_t = U M_t V^T in shared bases; the M_t are merged entry by entry, and the bases multiplied back.

    Source: Core Space, arXiv 2509.17786. There the bases are singular vectors of the stacked factors, which change when
    B, A become B G, G^-1 A; here U are the left singular vectors of [D_1 | D_2 | ...] and V the right ones of
    [D_1; D_2; ...], ordered by singular value: they belong to the deltas, so that the result does too.

    Args:
        deltas: (m, N) each, float64: or their cores in any orthonormal bases.
        weights: w_i; they do not change the bases.
        generator: read by dare alone.
        merge: ties, dare (both as PEFT) or magnitude at `density`; linear is the plain weighted sum.
        density: in (0, 1]; what stays of each core, whose entries beyond the joint span do not count.

    Returns:
        (m, N) in float64, of at most the rank of the joint span; invariant under isometries on either side.
    """
    left = joint_columns(deltas)
    right = joint_columns([delta.T for delta in deltas])
    if left.shape[1] == 0:
        return torch.zeros_like(deltas[0])
    merges: Mapping[str, Callable[[Sequence[Tensor], Sequence[float]], Tensor]] = {
        CoreMerge.TIES: partial(ties, density=density),
        CoreMerge.DARE: partial(dare, density=density, generator=generator),
        CoreMerge.MAGNITUDE: partial(magnitude, density=density),
        CoreMerge.LINEAR: summed,
    }
    merged = merges[merge]([left.T @ delta @ right for delta in deltas], weights)
    return left @ merged @ right.T

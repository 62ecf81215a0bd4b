"""One module of a sum in the precision of a file: each product is rounded once, each factor that may keeps its bits."""

from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.deltas import LowRank
from arithmetic.precision import Precision
from arithmetic.sources.combination import ModulePlan, stacked

SMALL, LARGE = 2.0**-8, 2.0**15
"""Between these the largest entry of a factor leaves fp16 room on both sides: it ends at 65,504, and its digits fade
below 6e-5."""


class Parts(NamedTuple):
    """up (m, R[, 1, 1]) whole, and down (R, n[, k, k]) as the slices that it is stacked of."""

    up: Tensor
    downs: tuple[Tensor, ...]


def combine_module(
    module: ModulePlan, precision: Precision = Precision.FP32, *, alpha: float | None = None, device: str = "cpu"
) -> LowRank:
    """One module of the sum by concatenation, for a file whose reader multiplies by alpha / R; by 1 without an alpha.

    lambda_i s_i R / alpha is folded into up and rounded once; down keeps its bits where the precision holds them. In
    fp16 the factors are balanced by powers of two first where they need it, which is exact.

    Returns:
        up (m, R[, 1, 1]) and down (R, n[, k, k]) in `precision`, R the sum of the ranks.

    Raises:
        ShapeMismatch: factors that do not fit the module.
        AlgebraError: a term that has no factors.
    """
    up, downs = combine_parts(module, precision, alpha=alpha, device=device)
    return LowRank(up, torch.cat(downs, dim=0), 1.0 if alpha is None else alpha / up.shape[1])


def combine_parts(
    module: ModulePlan, precision: Precision, *, alpha: float | None = None, device: str = "cpu"
) -> Parts:
    """As `combine_module`, without copying the downs together: a file takes them one after the other."""
    terms = list(module.factors())
    rank = sum(factors.rank for _, factors in terms)
    scale = 1.0 if alpha is None else alpha / rank
    first = terms[0][1].up
    whole, downs, start = torch.empty(first.shape[0], rank, *first.shape[2:], dtype=precision.dtype), [], 0
    for weight, factors in terms:
        up, down = _scaled(weight * factors.scale / scale, factors, precision, device)
        whole[:, start : start + factors.rank] = up
        downs.append(down)
        start += factors.rank
    return Parts(whole, tuple(downs))


def combine_channel(module: ModulePlan, precision: Precision) -> Tensor:
    """The sum of a bias or normalisation: (m,) in `precision`, added in float64 and rounded once.

    Raises:
        ValueError: a module that has factors.
    """
    if not module.is_channel:
        raise ValueError(f"{module.module}: is no bias or normalisation.")
    return stacked(module.terms, module.module).dense().flatten().to(precision.dtype)


def _scaled(weight: float, factors: LowRank, precision: Precision, device: str) -> tuple[Tensor, Tensor]:
    up, down = factors.up.to(device), factors.down.to(device)
    if precision is Precision.FP16 and not _has_room(weight, up, down):
        up, down = balanced(up.to(torch.float64) * weight, down.to(torch.float64))
    elif up.dtype is precision.dtype and precision is not Precision.FP32:
        up = up * weight
    else:
        up = up.to(torch.float64) * weight
    return up.to(precision.dtype).cpu(), down.to(precision.dtype).cpu()


def _has_room(weight: float, up: Tensor, down: Tensor) -> bool:
    """Whether factors that are fp16 already stay well inside its range when up is multiplied by `weight`."""
    if up.dtype is not torch.float16 or down.dtype is not torch.float16:
        return False
    peak = largest(up) * abs(weight)
    return bool(SMALL <= peak <= LARGE)


def largest(tensor: Tensor) -> float:
    """The largest magnitude; NaN where there is one."""
    low, high = torch.aminmax(tensor)
    return max(abs(low.item()), abs(high.item()))


def balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """The same product, each rank's column of up and row of down scaled by powers of two to about equal magnitude.

    fp16 loses digits below 6e-5 and ends at 65,504; a power of two costs nothing.
    """
    ups, downs = column_peaks(up), row_peaks(down)
    ratio = torch.where((ups > 0) & (downs > 0), downs / ups, 1.0)
    shift = torch.exp2((torch.log2(ratio) / 2).round())
    return up * shift.reshape(1, -1, *(1 for _ in up.shape[2:])), down / shift.reshape(-1, *(1 for _ in down.shape[1:]))


def column_peaks(up: Tensor) -> Tensor:
    """(m, r, ...) -> (r,): the largest magnitude in each column."""
    return up.abs().transpose(0, 1).flatten(1).amax(dim=1)


def row_peaks(down: Tensor) -> Tensor:
    """(r, ...) -> (r,): the largest magnitude in each row."""
    return down.abs().flatten(1).amax(dim=1)

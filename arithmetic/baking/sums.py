"""sum_i c_i W_i + dW of one stored tensor, by blocks of rows, rounded once."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.deltas import Delta, LowRank
from arithmetic.errors import Overflow, ShapeMismatch
from arithmetic.sources.combination import Combination, stacked
from arithmetic.sources.source import Source
from arithmetic.weights import Part, Weights

BLOCK_ELEMENTS = 1 << 20
"""What is summed at once: 4 MB of float32, which stays in a core's own cache."""

Bases = Sequence[tuple[float, Weights]]
"""(coefficient, base); the first one's layout is the output's."""


@dataclass(frozen=True)
class Addend:
    """dW as it is added to a stored tensor: factors (rows, r), (r, columns), or a matrix (rows, columns)."""

    factors: tuple[Tensor, Tensor] | None
    matrix: Tensor | None

    def add(self, block: Tensor, first: int, end: int, sign: float = 1.0) -> None:
        """block += sign * dW[first:end], in the block's dtype."""
        if self.factors is not None:
            up, down = self.factors
            block.addmm_(up[first:end], down, alpha=sign)
        if self.matrix is not None:
            block.add_(self.matrix[first:end], alpha=sign)


@dataclass(frozen=True)
class PartSum:
    """One part of a stored tensor: `bases` (c_i, W_i) as (rows, columns) views in the orientation of the file."""

    part: Part
    bases: tuple[tuple[float, Tensor], ...]
    addend: Addend
    dtype: torch.dtype
    """What the sum is computed in."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.bases[0][1].shape
        return rows, columns

    def blocks(self) -> Iterator[tuple[int, int]]:
        """(first, end) rows of each block; they depend on the shape alone, and so do the bits of the sum."""
        rows, columns = self.shape
        step = max(1, BLOCK_ELEMENTS // max(1, columns))
        for first in range(0, rows, step):
            yield first, min(first + step, rows)

    def block(self, first: int, end: int) -> Tensor:
        """Rows `first` to `end` of the sum, in `dtype`."""
        (coefficient, weight), *others = self.bases
        total = weight[first:end].to(self.dtype, copy=True)
        if coefficient != 1:
            total *= coefficient
        for other, tensor in others:
            total.add_(tensor[first:end].to(self.dtype), alpha=other)
        self.addend.add(total, first, end)
        return total


def part_sums(bases: Bases, source: Source | None, parts: Sequence[Part], output: torch.dtype) -> Iterator[PartSum]:
    """The sums of the modules within one stored tensor.

    Args:
        bases: (coefficient, base) each; the first one's layout orients the sum.
        source: dW, for the modules that it has.
        parts: of the stored tensor.
        output: the dtype to round to; sums for float32 are computed in float64, those for 16 bits in float32.

    Raises:
        MissingModule: a base lacks one of the modules.
        ShapeMismatch: a delta does not fit its module.
    """
    for part in parts:
        views = tuple((c, _matrix(weights.weight(part.module), part.transposed)) for c, weights in bases)
        dtype = torch.float64 if output.itemsize > 2 else torch.float32
        delta = _delta(source, part.module, dtype) if source is not None and part.module in source.modules else None
        addend = _addend(delta, part.transposed, dtype)
        _check_fit(addend, part.module, views[0][1])
        yield PartSum(part, views, addend, dtype)


def rounded(total: Tensor, dtype: torch.dtype, module: str) -> Tensor:
    """`total` in `dtype`. Raises Overflow for anything that is no finite number there."""
    result = total.to(dtype)
    if not _is_finite(result):
        named = str(dtype).removeprefix("torch.")
        raise Overflow(
            f"{module}: an entry is {_largest(total):.3g}, which is no finite number in {named}. "
            "Lower the weights of the recipe, or write fp32 or bf16."
        )
    return result


def _is_finite(tensor: Tensor) -> bool:
    """Whether no element is infinite or NaN, by the extremes: twenty times as quick as asking each number."""
    low, high = torch.aminmax(tensor)
    return math.isfinite(low.item()) and math.isfinite(high.item())


def _largest(total: Tensor) -> float:
    low, high = torch.aminmax(total)
    return max(float(low), float(high), key=abs)


def _matrix(weight: Tensor, transposed: bool) -> Tensor:
    """(m, ...) as (m, columns), or as the file has it."""
    matrix = weight.reshape(weight.shape[0], -1)
    return matrix.T if transposed else matrix


def _delta(source: Source, module: str, dtype: torch.dtype) -> Delta:
    """dW of one module; of a sum, stacked in the dtype that it is added in."""
    if isinstance(source, Combination):
        return stacked(source.terms_of(module), module, dtype)
    return source.delta(module)


def _addend(delta: Delta | None, transposed: bool, dtype: torch.dtype) -> Addend:
    if delta is None:
        return Addend(None, None)
    if isinstance(delta, LowRank):
        up, down = delta.up.flatten(1).to(dtype).contiguous(), delta.down.flatten(1).to(dtype).contiguous()
        up = up if delta.scale == 1 else up * delta.scale
        return Addend((down.T.contiguous(), up.T.contiguous()) if transposed else (up, down), None)
    matrix = delta.dense()
    return Addend(None, matrix.T if transposed else matrix)


def _check_fit(addend: Addend, module: str, weight: Tensor) -> None:
    if addend.factors is not None:
        shape = (addend.factors[0].shape[0], addend.factors[1].shape[1])
    elif addend.matrix is not None:
        shape = (addend.matrix.shape[0], addend.matrix.shape[1])
    else:
        return
    if shape != tuple(weight.shape):
        raise ShapeMismatch(
            f"{module}: its delta is {list(shape)}, the base's weight {list(weight.shape)}. "
            "Use a vector made for this base."
        )

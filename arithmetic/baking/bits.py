"""The low digits of a tensor's bits, from which the whole is found again beside a prediction that is nearly right.

The bits of floats, as integers, are in the order of the numbers once those of the negative ones are turned over: then
neighbours differ by 1 (a unit in the last place), and -0 comes just below +0. Of each such integer the lowest 8 or 16
binary digits are kept. Whoever has a prediction within 2^(digits - 1) units takes the one integer near it that ends in
these digits. Only a quarter of that range is used when writing, so that a reader whose prediction differs by rounding
still finds the same integer; what lies further off is kept whole, beside its position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Bytes of an element -> the integers that its bits are."""

WIDE = {torch.int16: torch.int32, torch.int32: torch.int64, torch.int64: torch.int64}
"""Where differences of such integers are taken; those of 64 bits wrap around, which loses nothing."""


@dataclass(frozen=True)
class Digits:
    """`low` (N,) int8, int16 or int32; `index` (E,) integers and `value` (E,): the elements that are kept whole."""

    low: Tensor
    index: Tensor
    value: Tensor

    @property
    def pieces(self) -> dict[str, Tensor]:
        """The three tensors by name."""
        return {"low": self.low, "index": self.index, "value": self.value}

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.pieces.values())


def low_digits(exact: Tensor, predicted: Tensor, kept: torch.dtype) -> Digits:
    """What to keep of `exact` for a reader who has about `predicted`; both (N,) of one float dtype."""
    true, guess = _ordered(exact), _ordered(predicted)
    difference = true - guess
    reach = torch.iinfo(kept).max // 2
    outside = (difference < -reach) | (difference > reach)
    index = outside.nonzero().flatten()
    return Digits(true.to(kept), index, exact[index])


def from_digits(digits: Digits, predicted: Tensor) -> Tensor:
    """(N,): the exact tensor again, for any prediction near enough to the one that `low_digits` had."""
    guess = _ordered(predicted)
    step = (digits.low.to(guess.dtype) - guess).to(digits.low.dtype)
    exact = _floats(guess + step.to(guess.dtype), predicted.dtype)
    exact[digits.index.to(torch.int64)] = digits.value
    return exact


def _ordered(tensor: Tensor) -> Tensor:
    """Float bits as integers in the order of the numbers, in a dtype that holds their differences."""
    bits = tensor.view(INTEGERS[tensor.element_size()])
    turned = torch.where(bits < 0, bits ^ torch.iinfo(bits.dtype).max, bits)
    return turned.to(WIDE[bits.dtype])


def _floats(ordered: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of `_ordered`."""
    bits = ordered.to(INTEGERS[dtype.itemsize])
    return torch.where(bits < 0, bits ^ torch.iinfo(bits.dtype).max, bits).view(dtype)

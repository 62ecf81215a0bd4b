"""The difference of bases: what a fine-tuned one has that the one it came from has not, module by module."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from arithmetic.deltas import Dense
from arithmetic.errors import AlgebraError
from arithmetic.sources.source import Origin
from arithmetic.weights import Weights
from formats import Architecture, component_of

TOLERANCE = 1e-9
"""How far from 0 the coefficients may add up to: decimals such as 0.1 + 0.2 - 0.3 in binary."""


@dataclass(frozen=True)
class Share:
    """What is known of a module's delta before it is computed: its largest rank, None for one kept whole."""

    rank: int | None


@dataclass(frozen=True)
class Difference:
    """sum_i c_i W_i of bases whose coefficients add up to 0: a source of dense deltas, one module at a time.

    A component that one of the bases lacks altogether is no part of it: text encoders, where one is a U-Net alone.

    Raises:
        AlgebraError: coefficients that do not add up to 0, or bases of different tables.
        MissingModule: a base has a component, but not all of its modules.
    """

    terms: tuple[tuple[float, Weights], ...]
    name: str = "difference"

    def __post_init__(self) -> None:
        names = " and ".join(weights.name for _, weights in self.terms)
        total = math.fsum(coefficient for coefficient, _ in self.terms)
        if len(self.terms) < 2 or abs(total) > TOLERANCE:
            raise AlgebraError(f"{names}: their coefficients add up to {total:g}, expected 0 for a vector.")
        if any(weights.architecture.modules != self.architecture.modules for _, weights in self.terms):
            raise AlgebraError(f"{names}: have different module tables. Take the difference of bases of one family.")
        for module in self.modules:
            for _, weights in self.terms:
                weights.place(module)

    @property
    def architecture(self) -> Architecture:
        """The bases' table."""
        return self.terms[0][1].architecture

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """The components that not all of the bases have."""
        present = [{component_of(module) for module in weights.modules} for _, weights in self.terms]
        return tuple(sorted({part for own in present for part in own if any(part not in other for other in present)}))

    @cached_property
    def modules(self) -> Mapping[str, Share]:
        """Every weight, bias and normalisation of the components that all bases have."""
        named = dict.fromkeys(module for _, weights in self.terms for module in weights.modules)
        return {module: Share(None) for module in named if component_of(module) not in self.left_out}

    @cached_property
    def content(self) -> Hashable:
        """The bases' bytes and their coefficients."""
        return "difference", tuple((coefficient, weights.content) for coefficient, weights in self.terms)

    @property
    def parts(self) -> tuple[()]:
        """Nothing: bases are no vectors."""
        return ()

    @property
    def origins(self) -> tuple[tuple[float, Origin], ...]:
        """The bases."""
        return self.terms

    def delta(self, module: str) -> Dense:
        """(m, n*k*k): in float32 where all bases are stored in 16 bits, else in float64."""
        weights = [(coefficient, base.weight(module)) for coefficient, base in self.terms]
        dtype = torch.float64 if any(weight.itemsize > 2 for _, weight in weights) else torch.float32
        (first, weight), *others = weights
        total = weight.to(dtype, copy=True) * first
        for coefficient, other in others:
            total.add_(other.to(dtype), alpha=coefficient)
        return Dense(total.reshape(total.shape[0], -1))

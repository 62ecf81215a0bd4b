"""What a merge method makes of several sources: `ties(0.7*a, 0.5*b; density=0.3, seed=1)`."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from arithmetic.combination import Sized, in_table_order
from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.errors import AlgebraError
from arithmetic.methods import Method, core_space, generator_for
from arithmetic.source import Source
from formats import Architecture


@dataclass(frozen=True)
class Merged:
    """A method on weighted arguments, module by module. An argument that lacks a module takes no part in it."""

    method: Method
    arguments: tuple[tuple[float, Source], ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The method and its arguments."""
        return f"{self.method.name}({', '.join(source.name for _, source in self.arguments)})"

    @property
    def architecture(self) -> Architecture:
        """The first argument's."""
        return self.arguments[0][1].architecture

    @property
    def content(self) -> Hashable:
        """Of the method, its options, and the arguments in order."""
        arguments = tuple((weight, source.content) for weight, source in self.arguments)
        return ("merged", self.method.name, self.options, arguments)

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The arguments."""
        return self.arguments

    @property
    def origins(self) -> tuple[()]:
        """Nothing."""
        return ()

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """Those of all arguments, with the largest rank that the method can give."""
        reached = {module for _, source in self.arguments for module in source.modules}
        return {module: Sized(self._most(module)) for module in in_table_order(self.architecture, reached)}

    def delta(self, module: str) -> Delta:
        """The method's result in float64; random choices follow from the seed and the module alone."""
        parts = [(weight, source.delta(module)) for weight, source in self.arguments if module in source.modules]
        if self.method.space == "factors":
            merged: LowRank = self.method.apply([(weight, self._factors(delta, module)) for weight, delta in parts])
            return merged
        factors = [delta.low_rank() for _, delta in parts]
        weights = [weight for weight, _ in parts]
        if self.method.space == "core" and all(factors):
            return self._in_core([one for one in factors if one], weights, module)
        return Dense(self._applied([delta.dense() for _, delta in parts], weights, module))

    def _in_core(self, factors: Sequence[LowRank], weights: Sequence[float], module: str) -> LowRank:
        left, right, cores = core_space(factors)
        up, down = left @ self._applied(cores, weights, module), right.T
        first = factors[0]
        shaped = up.reshape(*up.shape, *(1 for _ in first.up.shape[2:]))
        return LowRank(shaped, down.reshape(down.shape[0], *first.down.shape[1:]), 1.0)

    def _applied(self, matrices: Sequence[Any], weights: Sequence[float], module: str) -> Any:
        options = dict(self.options)
        generator = generator_for(int(options.pop("seed", 0)), module)
        return self.method.apply(matrices, weights, generator=generator, **options)

    def _factors(self, delta: Delta, module: str) -> LowRank:
        factors = delta.low_rank()
        if factors is None:
            raise AlgebraError(
                f"{self.name}: {module}: {self.method.name} takes low-rank factors, got a matrix. "
                "Give the argument a rank: (a | rank(64))."
            )
        return factors

    def _most(self, module: str) -> int | None:
        ranks = [source.modules[module].rank for _, source in self.arguments if module in source.modules]
        known = [rank for rank in ranks if rank is not None]
        if self.method.space == "dense" or len(known) < len(ranks):
            return None
        if self.method.space == "factors":
            return sum(known)
        shape = self.architecture.modules[module].shape
        return min(sum(known), shape[0], math.prod(shape[1:]))

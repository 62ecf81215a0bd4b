"""What a merge method makes of several sources: `ties(0.7*a, 0.5*b; density=0.3, seed=1)`."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor

from arithmetic.deltas import Delta, Dense, LowRank, shaped, width
from arithmetic.errors import MethodRefused
from arithmetic.methods import Method, Option, Space, core_space, merged
from arithmetic.sources.combination import Scoped, Sized, in_table_order
from arithmetic.sources.source import Source
from formats import Architecture, spec_of


@dataclass(frozen=True)
class Merged:
    """A method on weighted arguments, module by module. An argument that lacks a module takes no part in it."""

    method: Method
    arguments: tuple[tuple[float, Source], ...]
    options: tuple[tuple[str, Option], ...]

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
        if self.method.space is Space.FACTORS:
            return self._of_factors(module)
        takers = [(weight, source) for weight, source in self.arguments if self._takes(source, module)]
        parts = [(weight, self._part(source, module)) for weight, source in takers]
        factors = [delta.low_rank() for _, delta in parts]
        weights = [weight for weight, _ in parts]
        known = [one for one in factors if one is not None]
        if self.method.space is Space.CORE and len(known) == len(factors):
            return self._in_core(known, weights, module)
        return Dense(self._applied([delta.dense() for _, delta in parts], weights, module))

    def _takes(self, source: Source, module: str) -> bool:
        """Whether an argument is handed over: one with a role even where it lacks the module, as zeros."""
        return module in source.modules or bool(self.method.roles)

    def _part(self, source: Source, module: str) -> Delta:
        if module in source.modules:
            return source.delta(module)
        spec = spec_of(self.architecture, module)
        up = torch.zeros(spec.shape[0], 1, dtype=torch.float64)
        return shaped(up, torch.zeros(1, width(spec), dtype=torch.float64), 1.0, spec.shape)

    def _of_factors(self, module: str) -> LowRank:
        """Another tool's sum; a scope is its block weight, which some of them treat otherwise than lambda."""
        present = [(weight, source) for weight, source in self.arguments if module in source.modules]
        apart = [
            (source.source, float(source.strength(module))) if isinstance(source, Scoped) else (source, 1.0)
            for _, source in present
        ]
        parts = [
            (weight, self._factors(source.delta(module), module))
            for (weight, _), (source, _) in zip(present, apart, strict=True)
        ]
        try:
            summed = self.method.apply(parts, blocks=[block for _, block in apart])
        except MethodRefused as refusal:
            raise MethodRefused(f"{module}: {refusal}") from refusal
        return cast(LowRank, summed)

    def _in_core(self, factors: Sequence[LowRank], weights: Sequence[float], module: str) -> LowRank:
        space = core_space(factors)
        lifted = space.lifted(self._applied(space.cores, weights, module))
        return shaped(lifted.up, lifted.down, lifted.scale, spec_of(self.architecture, module).shape)

    def _applied(self, matrices: Sequence[Tensor], weights: Sequence[float], module: str) -> Tensor:
        return merged(self.method, matrices, weights, module=module, options=dict(self.options))

    def _factors(self, delta: Delta, module: str) -> LowRank:
        factors = delta.low_rank()
        if factors is None:
            raise MethodRefused(
                f"{self.name}: {module}: {self.method.name} takes low-rank factors, got a matrix. "
                "Give the argument a rank: (a | rank(64))."
            )
        return factors

    def _most(self, module: str) -> int | None:
        ranks = [source.modules[module].rank for _, source in self.arguments if module in source.modules]
        known = [rank for rank in ranks if rank is not None]
        if self.method.space is Space.DENSE or len(known) < len(ranks):
            return None
        if self.method.space is Space.FACTORS:
            return sum(known)
        shape = spec_of(self.architecture, module).shape
        return min(sum(known), shape[0], math.prod(shape[1:]))

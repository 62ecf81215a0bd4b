"""Sums of vectors, exactly: the sum of low-rank terms is a low-rank term of the summed rank.

    sum_i lambda_i s_i B_i A_i = [lambda_1 s_1 B_1 | lambda_2 s_2 B_2 | ...] @ [A_1; A_2; ...]

Nothing is made dense, nothing is truncated: ranks and alphas may differ, a module that one vector lacks is the others'.
Where a term has no factors (a full difference, a method that works entry by entry) the module's sum is a matrix.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from arithmetic.deltas import Delta, Dense, LowRank, widened
from arithmetic.errors import AlgebraError
from arithmetic.sources.source import Origin, Source
from formats import Architecture, ModuleSpec, spec_of

ONE = Decimal(1)


class Factor(Protocol):
    """What a scope multiplies lambda by, module by module."""

    def factor(self, module: str, architecture: Architecture) -> float:
        """1 where it says nothing."""


@dataclass(frozen=True)
class Sized:
    """A module of a sum before a tensor is read."""

    rank: int | None


@dataclass(frozen=True)
class Scoped:
    """A source whose strength depends on the module."""

    source: Source
    scopes: tuple[Factor, ...]

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def architecture(self) -> Architecture:
        """The source's."""
        return self.source.architecture

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """The source's, those with strength 0 included."""
        return {module: Sized(entry.rank) for module, entry in self.source.modules.items()}

    @property
    def content(self) -> Hashable:
        """Of the source and the scopes."""
        return ("scoped", self.source.content, self.scopes)

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The source alone."""
        return ((1.0, self.source),)

    @property
    def origins(self) -> tuple[()]:
        """Nothing."""
        return ()

    def strength(self, module: str) -> Decimal:
        """The product of what the scopes say."""
        return math.prod((_exact(scope.factor(module, self.architecture)) for scope in self.scopes), start=ONE)

    def delta(self, module: str) -> Delta:
        """The source's delta times the module's strength."""
        return stacked([(float(self.strength(module)), self.source)], module)


@dataclass(frozen=True)
class Combination:
    """sum_i lambda_i tau_i, in the order of the recipe. It is itself a source, so that sums nest."""

    terms: tuple[tuple[float, Source], ...]
    name: str = field(default="sum", compare=False)

    def __post_init__(self) -> None:
        if not self.terms:
            raise AlgebraError("Combination: no terms, expected at least one (lambda, vector) pair.")
        for weight, source in self.terms:
            if not math.isfinite(weight):
                raise AlgebraError(f"{source.name}: its weight is {weight}, expected a finite number.")

    @property
    def architecture(self) -> Architecture:
        """The first term's; `check` refuses a combination whose terms disagree."""
        return self.terms[0][1].architecture

    @property
    def content(self) -> Hashable:
        """Of the terms and their lambdas."""
        return ("sum", tuple((weight, source.content) for weight, source in self.terms))

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The terms."""
        return self.terms

    @property
    def origins(self) -> tuple[()]:
        """Nothing."""
        return ()

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """What `plan` computes."""
        return {module.module: Sized(module.rank) for module in plan(self).modules}

    def delta(self, module: str) -> Delta:
        """The sum's delta of one module."""
        return stacked(self.terms_of(module), module)

    def terms_of(self, module: str) -> tuple[tuple[float, Source], ...]:
        """The sources that reach a module, those of equal content once, with their lambdas; none whose lambda is 0.

        Lambdas are multiplied and added as decimals: 0.1 + 0.2 is 0.3, and what cancels is gone.
        """
        weights: dict[int, Decimal] = {}
        for weight, source in _spread(ONE, self, module):
            place = self._places[id(source)]
            weights[place] = weights.get(place, Decimal(0)) + weight
        return tuple((float(weight), self._distinct[place]) for place, weight in weights.items() if weight)

    @cached_property
    def _places(self) -> Mapping[int, int]:
        """The identity of each source at the leaves -> the number of its content."""
        numbers: dict[Hashable, int] = {}
        return {id(source): numbers.setdefault(source.content, len(numbers)) for source in leaves(self)}

    @cached_property
    def _distinct(self) -> Mapping[int, Source]:
        """The number of a content -> the first source that has it."""
        found: dict[int, Source] = {}
        for source in leaves(self):
            found.setdefault(self._places[id(source)], source)
        return found


@dataclass(frozen=True)
class ModulePlan:
    """One module of the sum: the sources that reach it with their lambdas, and the rank they add up to."""

    module: str
    spec: ModuleSpec
    terms: tuple[tuple[float, Source], ...]

    @property
    def rank(self) -> int | None:
        """The sum of the terms' ranks; None where one of them is kept as a matrix."""
        total = 0
        for _, source in self.terms:
            rank = source.modules[self.module].rank
            if rank is None:
                return None
            total += rank
        return total

    @property
    def is_channel(self) -> bool:
        """Whether it is a bias or a normalisation: one number a channel, which has no factors."""
        return self.spec.kind == "channel"

    @property
    def is_limit(self) -> bool:
        """Whether the rank is only the most that the computation can find: that of a file's own factors is exact."""
        return any(source.parts for _, source in self.terms)

    def factors(self) -> Iterator[tuple[float, LowRank]]:
        """(lambda, factors) of each term, read one after the other. Raises AlgebraError where a term has none."""
        for weight, source in self.terms:
            factors = source.delta(self.module).low_rank()
            if factors is None:
                raise AlgebraError(f"{source.name}: {self.module}: is kept as a matrix. Give it a rank: | rank(64).")
            yield weight, factors


@dataclass(frozen=True)
class Plan:
    """What a combination will compute, before any tensor is read; modules in the architecture's order."""

    architecture: Architecture
    modules: tuple[ModulePlan, ...]

    @property
    def largest_rank(self) -> int:
        """The largest rank of any module that has one; 0 for an empty plan."""
        return max((module.rank or 0 for module in self.modules), default=0)


def distinct_terms(combination: Combination) -> tuple[tuple[float, Source], ...]:
    """Terms of equal content gathered at the first one's place, their lambdas added as decimals (0.1 + 0.2 = 0.3)."""
    weights: dict[Hashable, Decimal] = {}
    sources: dict[Hashable, Source] = {}
    for weight, source in combination.terms:
        content = source.content
        sources.setdefault(content, source)
        weights[content] = weights.get(content, Decimal(0)) + _exact(weight)
    return tuple((float(weights[content]), source) for content, source in sources.items())


def reached_modules(combination: Combination) -> tuple[str, ...]:
    """Every module that a term reaches, those with lambda 0 included, in the architecture's order."""
    return in_table_order(combination.architecture, {m for _, source in combination.terms for m in source.modules})


def in_table_order(architecture: Architecture, modules: set[str]) -> tuple[str, ...]:
    """The architecture's own modules as its table has them, then biases and normalisations by name."""
    listed = tuple(module for module in architecture.modules if module in modules)
    return (*listed, *sorted(modules.difference(listed)))


def plan(combination: Combination) -> Plan:
    """Which sources meet in which module; a term whose lambda is 0 takes no rank."""
    architecture = combination.architecture
    planned = (
        ModulePlan(module, spec_of(architecture, module), combination.terms_of(module))
        for module in reached_modules(combination)
    )
    return Plan(architecture, tuple(module for module in planned if module.terms))


def stacked(terms: Sequence[tuple[float, Source]], module: str, dtype: torch.dtype = torch.float64) -> Delta:
    """sum_i lambda_i dW_i of one module: by concatenation in `dtype` where every term has factors, else as a matrix.

    A matrix is summed in float64 always.
    """
    deltas = [(weight, source.delta(module)) for weight, source in terms]
    factors = [(weight, delta.low_rank()) for weight, delta in deltas]
    if all(low_rank is not None for _, low_rank in factors):
        ups = [_in(dtype, low_rank.up) * (weight * low_rank.scale) for weight, low_rank in factors if low_rank]
        downs = [_in(dtype, low_rank.down) for _, low_rank in factors if low_rank]
        return LowRank(torch.cat(ups, dim=1), torch.cat(downs, dim=0), 1.0)
    total = deltas[0][1].dense() * deltas[0][0]
    for weight, delta in deltas[1:]:
        total += weight * delta.dense()
    return Dense(total)


def _in(dtype: torch.dtype, factor: Tensor) -> Tensor:
    return widened(factor) if dtype == torch.float64 else factor.to(dtype)


def _spread(weight: Decimal, source: Source, module: str) -> Iterator[tuple[Decimal, Source]]:
    """The leaves of a tree of sums and scopes that reach a module, with the product of the lambdas on the way."""
    if isinstance(source, Combination):
        for own, term in source.terms:
            yield from _spread(weight * _exact(own), term, module)
    elif isinstance(source, Scoped):
        if module in source.source.modules:
            yield from _spread(weight * source.strength(module), source.source, module)
    elif module in source.modules:
        yield weight, source


def leaves(source: Source) -> Iterator[Source]:
    """What a tree of sums and scopes is made of, in the order written."""
    if isinstance(source, Combination):
        for _, term in source.terms:
            yield from leaves(term)
    elif isinstance(source, Scoped):
        yield from leaves(source.source)
    else:
        yield source


def inputs(source: Source, weight: Decimal = ONE) -> Iterator[tuple[float, Origin]]:
    """The files that a source is made of, in the order written, each with the product of the lambdas before it."""
    for own, origin in source.origins:
        yield float(weight * _exact(own)), origin
    for own, part in source.parts:
        yield from inputs(part, weight * _exact(own))


def _exact(number: float) -> Decimal:
    """The decimal that was typed: 0.1, not 0.1000000000000000055."""
    return Decimal(repr(number))

"""Sums of vectors, exactly: the sum of low-rank terms is a low-rank term of the summed rank.

    sum_i lambda_i s_i B_i A_i = [lambda_1 s_1 B_1 | lambda_2 s_2 B_2 | ...] @ [A_1; A_2; ...]

Nothing is made dense, nothing is truncated: ranks and alphas may differ, a module that one vector lacks is the others'.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import torch
from torch import Tensor

from arithmetic.errors import AlgebraError
from arithmetic.deltas import LowRank
from arithmetic.precision import Precision
from arithmetic.vector import Vector
from formats import Architecture, ModuleSpec


@dataclass(frozen=True)
class Combination:
    """sum_i lambda_i tau_i, in the order of the recipe."""

    terms: tuple[tuple[float, Vector], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise AlgebraError("Combination: no terms, expected at least one (lambda, vector) pair.")
        for weight, vector in self.terms:
            if not math.isfinite(weight):
                raise AlgebraError(f"{vector.name}: its weight is {weight}, expected a finite number.")

    @property
    def architecture(self) -> Architecture:
        """The first vector's; `check` refuses a combination whose vectors disagree."""
        return self.terms[0][1].architecture


@dataclass(frozen=True)
class ModulePlan:
    """One module of the sum: the vectors that reach it with their lambdas, and the rank they add up to."""

    module: str
    spec: ModuleSpec
    terms: tuple[tuple[float, Vector], ...]

    @property
    def rank(self) -> int:
        """The sum of the terms' ranks."""
        return sum(vector.modules[self.module].rank for _, vector in self.terms)

    def factors(self) -> Iterator[tuple[float, LowRank]]:
        """(lambda, factors) of each term, read one after the other."""
        for weight, vector in self.terms:
            yield weight, vector.factors(self.module)


@dataclass(frozen=True)
class Plan:
    """What a combination will compute, before any tensor is read; modules in the architecture's order."""

    architecture: Architecture
    modules: tuple[ModulePlan, ...]

    @property
    def largest_rank(self) -> int:
        """The largest rank of any module; 0 for an empty plan."""
        return max((module.rank for module in self.modules), default=0)


def distinct_terms(combination: Combination) -> tuple[tuple[float, Vector], ...]:
    """Terms of equal content gathered at the first one's place, their lambdas added as decimals (0.1 + 0.2 = 0.3)."""
    weights: dict[object, Decimal] = {}
    vectors: dict[object, Vector] = {}
    for weight, vector in combination.terms:
        vectors.setdefault(vector.content, vector)
        weights[vector.content] = weights.get(vector.content, Decimal(0)) + Decimal(repr(weight))
    return tuple((float(weights[content]), vector) for content, vector in vectors.items())


def reached_modules(combination: Combination) -> tuple[str, ...]:
    """Every module that a term reaches, those with lambda 0 included, in the architecture's order."""
    reached = {module for _, vector in combination.terms for module in vector.modules}
    return tuple(module for module in combination.architecture.modules if module in reached)


def plan(combination: Combination) -> Plan:
    """Which vectors meet in which module; a term whose lambda is 0 takes no rank."""
    terms = tuple((weight, vector) for weight, vector in distinct_terms(combination) if weight != 0)
    architecture = combination.architecture
    reached = {module for _, vector in terms for module in vector.modules}
    modules = (
        ModulePlan(module, spec, tuple((weight, vector) for weight, vector in terms if module in vector.modules))
        for module, spec in architecture.modules.items()
        if module in reached
    )
    return Plan(architecture, tuple(modules))


def combine_module(module: ModulePlan, precision: Precision = Precision.FP32, *, scale: float = 1.0) -> LowRank:
    """One module of the sum by concatenation, for a file whose reader multiplies by `scale`.

    lambda_i s_i / scale is folded into up in float64 and rounded once; down keeps its bits where the precision holds
    them. In fp16 the factors are balanced by powers of two first, which is exact.

    Returns:
        up (m, R[, 1, 1]) and down (R, n[, k, k]) in `precision`, R the sum of the ranks.

    Raises:
        ShapeMismatch: factors that do not fit the module.
    """
    ups: list[Tensor] = []
    downs: list[Tensor] = []
    for weight, factors in module.factors():
        up = factors.up.to(torch.float64) * (weight * factors.scale / scale)
        down = factors.down
        if precision is Precision.FP16:
            up, down = _balanced(up, down.to(torch.float64))
        ups.append(up.to(precision.dtype))
        downs.append(down.to(precision.dtype))
    return LowRank(torch.cat(ups, dim=1), torch.cat(downs, dim=0), scale)


def _balanced(up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
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

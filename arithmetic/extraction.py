"""A vector out of checkpoints: their difference, made low-rank module by module: `extract(tuned - base; rank=64)`."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from arithmetic.combination import Sized, in_table_order
from arithmetic.deltas import Delta, Dense, LowRank, widened
from arithmetic.errors import AlgebraError, MissingModule
from arithmetic.methods import generator_for
from arithmetic.reduction import EnergyKept, ErrorAtMost, RankAtMost, Rule
from arithmetic.reduction.core import canonical_signs, count
from arithmetic.reduction.randomised import OVERSAMPLING, POWER_ITERATIONS, randomised_svd
from arithmetic.source import Origin, Source
from arithmetic.weights import Weights
from formats import Architecture, spec_of


@dataclass(frozen=True)
class Difference:
    """sum_i c_i W_i of checkpoints, the coefficients adding up to 0: what a fine-tuning changed, as matrices."""

    terms: tuple[tuple[float, Weights], ...]

    @property
    def name(self) -> str:
        """As a recipe has it."""
        return " + ".join(f"{weight:g}*{base.name}" for weight, base in self.terms).replace("+ -", "- ")

    @property
    def architecture(self) -> Architecture:
        """The first checkpoint's."""
        return self.terms[0][1].architecture

    @property
    def content(self) -> Hashable:
        """Of the checkpoints and their coefficients."""
        return ("difference", tuple((weight, base.content) for weight, base in self.terms))

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """None: checkpoints are no vectors."""
        return ()

    @property
    def origins(self) -> tuple[tuple[float, Origin], ...]:
        """The checkpoints."""
        return self.terms

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """Every tensor that all the checkpoints have.

        Raises MissingModule where one lacks what another one has.
        """
        first = self.terms[0][1]
        for _, base in self.terms[1:]:
            lost = sorted(set(first.modules) ^ set(base.modules))
            if lost:
                here, there = (base.name, first.name) if lost[0] in first.modules else (first.name, base.name)
                raise MissingModule(
                    f"{here}: has no {lost[0]}, which {there} has ({len(lost)} such). Subtract checkpoints of one "
                    "kind: two diffusers folders, or two files with text encoders."
                )
        return dict.fromkeys(in_table_order(self.architecture, set(first.modules)), Sized(None))

    def delta(self, module: str) -> Dense:
        """sum_i c_i W_i of one module in float64, (m, n*k*k)."""
        total: Tensor | None = None
        for weight, base in self.terms:
            matrix = widened(base.weight(module)) * weight
            total = matrix if total is None else total + matrix
        if total is None:
            raise AlgebraError("Difference: no checkpoints, expected at least two.")
        return Dense(total.reshape(total.shape[0], -1))


@dataclass(frozen=True)
class Extracted:
    """The leading singular directions of a difference; biases and normalisations are taken as they are."""

    difference: Difference
    rank: int | None = None
    energy: float | None = None
    """The share of each module's squared norm to keep."""
    error: float | None = None
    """The largest relative error of a module."""
    oversampling: int = OVERSAMPLING
    power_iterations: int = POWER_ITERATIONS
    seed: int = 0
    channels: bool = True
    """Whether biases and normalisations are extracted too."""

    def __post_init__(self) -> None:
        if self.rank is None and self.energy is None and self.error is None:
            raise AlgebraError("extract: says no rank, energy or error. Write extract(tuned - base; rank=64).")

    @property
    def name(self) -> str:
        """As a recipe has it."""
        return f"extract({self.difference.name})"

    @property
    def architecture(self) -> Architecture:
        """The difference's."""
        return self.difference.architecture

    @property
    def content(self) -> Hashable:
        """Of the difference and what is kept of it."""
        kept = (self.rank, self.energy, self.error, self.channels)
        return ("extracted", self.difference.content, kept, self.oversampling, self.power_iterations, self.seed)

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The difference."""
        return ((1.0, self.difference),)

    @property
    def origins(self) -> tuple[()]:
        """Nothing: the difference has them."""
        return ()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is kept, in the order rank, energy, error."""
        found: list[Rule] = []
        found += [] if self.rank is None else [RankAtMost(self.rank)]
        found += [] if self.energy is None else [EnergyKept(self.energy)]
        found += [] if self.error is None else [ErrorAtMost(self.error)]
        return tuple(found)

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """The modules that differ, with the largest rank that each can have."""
        return {module: Sized(self._most(module)) for module in self.difference.modules if self._differs(module)}

    def delta(self, module: str) -> Delta:
        """The kept part of one module's difference, in float64."""
        difference = self.difference.delta(module)
        shape = spec_of(self.architecture, module).shape
        if len(shape) == 1:
            return difference
        u, sigma, vt = self._decomposed(difference.matrix, module)
        kept = count(sigma, self.rules)
        root = sigma[:kept].sqrt()
        up, down = u[:, :kept] * root, root[:, None] * vt[:kept]
        signs = canonical_signs(up)
        up, down = up * signs, down * signs[:, None]
        return LowRank(up.reshape(*up.shape, *(1 for _ in shape[2:])), down.reshape(kept, *shape[1:]), 1.0)

    def _decomposed(self, matrix: Tensor, module: str) -> tuple[Tensor, Tensor, Tensor]:
        """The leading triplets; all of them where an energy or an error has to be met."""
        if self.energy is not None or self.error is not None or self.rank is None:
            u, sigma, vt = torch.linalg.svd(matrix, full_matrices=False)
            return u, sigma, vt
        return randomised_svd(
            matrix,
            self.rank,
            generator=generator_for(self.seed, module),
            oversampling=self.oversampling,
            power_iterations=self.power_iterations,
        )

    def _most(self, module: str) -> int | None:
        shape = spec_of(self.architecture, module).shape
        if len(shape) == 1:
            return None
        most = min(shape[0], math.prod(shape[1:]))
        return most if self.rank is None else min(most, self.rank)

    def _differs(self, module: str) -> bool:
        """Whether the module's difference is anything but zeros; biases and normalisations count only if asked for."""
        if not self.channels and len(spec_of(self.architecture, module).shape) == 1:
            return False
        matrix = self.difference.delta(module).matrix
        return bool(torch.any(matrix != 0))

"""A source of lower rank: `(a + b | rank(64))`."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property

from arithmetic.deltas import Delta, LowRank, shaped
from arithmetic.reduction import RankAtMost, Rule, reduce
from arithmetic.reduction.core import count
from arithmetic.reduction.sampling import Sampling
from arithmetic.sources.combination import Sized
from arithmetic.sources.source import Source
from formats import Architecture, spec_of

SAMPLING = Sampling(oversampling=32, power_iterations=3)
"""Of deltas that are kept as matrices, such as those of TIES, whose singular values fall slowly."""


@dataclass(frozen=True)
class Reduced:
    """The best approximation of a source that the rules allow, module by module (Eckart and Young 1936)."""

    source: Source
    rules: tuple[Rule, ...]
    device: str = "cpu"

    @property
    def whole(self) -> Source:
        """What its ranks were lowered of."""
        return self.source

    @property
    def name(self) -> str:
        """The source's."""
        return self.source.name

    @property
    def architecture(self) -> Architecture:
        """The source's."""
        return self.source.architecture

    @property
    def content(self) -> Hashable:
        """Of the source and the rules."""
        return ("reduced", self.source.content, self.rules)

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The source alone."""
        return ((1.0, self.source),)

    @property
    def origins(self) -> tuple[()]:
        """Nothing."""
        return ()

    @cached_property
    def modules(self) -> Mapping[str, Sized]:
        """The source's, with the largest rank that the rules can leave."""
        return {module: Sized(self._most(module)) for module in self.source.modules}

    def delta(self, module: str) -> Delta:
        """The reduced delta, float64; as it is where no rule can lower its rank, and for biases and normalisations."""
        delta = self.source.delta(module)
        factors = delta.low_rank()
        if factors is not None:
            return factors if not self.lowers(factors.rank) else reduce(factors, self.rules, self.device)[0]
        shape = spec_of(self.architecture, module).shape
        return delta if len(shape) == 1 else self._of_matrix(delta, shape, module)

    def _of_matrix(self, delta: Delta, shape: tuple[int, ...], module: str) -> LowRank:
        """By a randomised SVD: as near to the best as its docstring says, and the certificate measures how near."""
        matrix, (first, *others) = delta.dense(), self.rules
        if isinstance(first, RankAtMost):
            found = SAMPLING.triplets(matrix, first.rank, module)
        else:
            found = SAMPLING.triplets_within(matrix, first.left_out, module)
        up, down = found.leading(count(found.s, others)).balanced()
        return shaped(up, down, 1.0, shape)

    def _most(self, module: str) -> int | None:
        shape = spec_of(self.architecture, module).shape
        rank = self.source.modules[module].rank
        if rank is None and len(shape) == 1:
            return None
        if rank is not None and not self.lowers(rank):
            return rank
        most = min(shape[0], math.prod(shape[1:]))
        most = most if rank is None else min(most, rank)
        for rule in self.rules:
            most = rule.most(most)
        return most

    def lowers(self, rank: int | None) -> bool:
        """Whether the rules can lower this rank: all can but rank(N) where N is as large."""
        return rank is None or not all(isinstance(rule, RankAtMost) and rank <= rule.rank for rule in self.rules)

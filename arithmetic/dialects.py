"""What other tools would have made of the same sum, and the recipe that says the same as their file.

Each tool's result is sum_ij K_ij B_i A_j (arithmetic.methods.tool_sums), where the true sum is K = diag(lambda_i s_i).
With E = K - diag and the Gram matrices G^B_ik = B_i^T B_k, G^A_jm = A_j A_m^T,

    ||sum_ij E_ij B_i A_j||_F^2 = sum_ijkm E_ij E_km tr(G^B_ki G^A_jm)

in float64. No product of factors is formed that is larger than the module's weight.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.deltas import LowRank, widened
from arithmetic.errors import MethodRefused
from arithmetic.methods.tool_sums import DIALECTS, Dialect, Part
from arithmetic.resources import DEFAULT_RESOURCES, Resources, in_order
from arithmetic.sources.combination import Combination, Scoped
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector

__all__ = [
    "DIALECTS",
    "Dialect",
    "DialectOutcome",
    "MigratedTerm",
    "Migration",
    "dialect_errors",
    "dialect_outcomes",
    "migrated",
    "why_not_comparable",
]

Coefficients = Sequence[Sequence[float]]


@dataclass(frozen=True)
class MigratedTerm:
    """What a tool's file holds of one term: lambda, and factors to it for the modules in which it is another."""

    name: str
    weight: float
    factors: Mapping[str, float]

    def __str__(self) -> str:
        """The term as a recipe writes it, its sign included."""
        scope = ", ".join(f"{module}: {factor!r}" for module, factor in self.factors.items())
        return f"{self.weight!r}*{self.name}" + (f"{{{scope}}}" if scope else "")


@dataclass(frozen=True)
class Migration:
    """The true sum that comes closest to what a tool wrote, term by term.

    `error` is ||tool's file - this sum|| / ||tool's file||: 0 where the tool has no cross terms.
    """

    dialect: Dialect
    terms: tuple[MigratedTerm, ...]
    error: float

    def __str__(self) -> str:
        """The recipe."""
        first, *rest = map(str, self.terms)
        return first + "".join(f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in rest)


@dataclass(frozen=True)
class DialectOutcome:
    """What a tool makes of a sum, or why it refuses.

    `error` is the relative Frobenius error ||result - truth|| / ||truth|| over all modules; `migration` the recipe that
    says the same as its file.
    """

    dialect: Dialect
    error: float | None
    refusal: str | None
    migration: Migration | None = None


def dialect_errors(combination: Combination) -> dict[str, float]:
    """Dialect name -> relative Frobenius error against the true sum; a tool that refuses the inputs is left out."""
    return {o.dialect.name: o.error for o in dialect_outcomes(combination) if o.error is not None}


def dialect_outcomes(
    combination: Combination,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[DialectOutcome, ...]:
    """What each known tool makes of the combination: an error and a migration, or its refusal.

    A term whose lambda is 0 is there for the tools, too: it has a rank and an alpha.
    """
    refusals = {dialect.name: _refusal(dialect, combination) for dialect in DIALECTS}
    usable = [dialect for dialect in DIALECTS if refusals[dialect.name] is None]
    found = {
        tally.dialect.name: tally.outcome(combination) for tally in _tallied(combination, usable, resources, progress)
    }
    return tuple(found.get(d.name) or DialectOutcome(d, None, refusals[d.name]) for d in DIALECTS)


def migrated(dialect: Dialect, combination: Combination) -> Migration:
    """The recipe that reproduces the file that `dialect` made of `combination`, read as that tool read it.

    Its coefficients are K_ii / s_i, module by module, to fourteen digits. For a tool without cross terms the recipe is
    the file; for one with them it is what of the file can be said in the inputs, and `error` is the rest.

    Raises:
        MethodRefused: the tool would not have made a file of these inputs.
    """
    for module in combination.architecture.modules:
        if parts := _parts_by_header(combination, module):
            dialect.require(parts, module)
    (tally,) = _tallied(combination, [dialect], DEFAULT_RESOURCES, None)
    return tally.migration(combination)


class _Figures(NamedTuple):
    """What one module adds to a tally, squared norms."""

    error: float
    rest: float
    whole: float
    weights: tuple[tuple[int, float], ...]
    """(place of the term, its coefficient in the tool's file)."""


@dataclass
class _Tally:
    """One tool's figures as they add up."""

    dialect: Dialect
    weights: list[dict[str, float]]
    error: float = 0.0
    rest: float = 0.0
    whole: float = 0.0
    truth: float = 0.0

    def add(self, module: str, figures: _Figures, truth: float) -> None:
        """One more module."""
        self.error += figures.error
        self.rest += figures.rest
        self.whole += figures.whole
        self.truth += truth
        for place, weight in figures.weights:
            self.weights[place][module] = weight

    def outcome(self, combination: Combination) -> DialectOutcome:
        """After the last module."""
        error = math.sqrt(self.error / self.truth) if self.truth > 0 else math.inf
        return DialectOutcome(self.dialect, error, None, self.migration(combination))

    def migration(self, combination: Combination) -> Migration:
        """After the last module."""
        found = zip(combination.terms, self.weights, strict=True)
        terms = tuple(_migrated_term(vector.name, weight, by_module) for (weight, vector), by_module in found)
        return Migration(self.dialect, terms, math.sqrt(self.rest / self.whole) if self.whole > 0 else 0.0)


def _tallied(
    combination: Combination,
    dialects: Sequence[Dialect],
    resources: Resources,
    progress: Callable[[int, int], None] | None,
) -> list[_Tally]:
    """Every module is read once, for all tools together."""
    tallies = [_Tally(dialect, [{} for _ in combination.terms]) for dialect in dialects]
    modules = [
        m for m in combination.architecture.modules if any(m in source.modules for _, source in combination.terms)
    ]
    measured = in_order(partial(_measured, combination, dialects), modules, resources)
    for done, (module, (truth, figures)) in enumerate(zip(modules, measured, strict=True), start=1):
        for tally, one in zip(tallies, figures, strict=True):
            tally.add(module, one, truth)
        if progress is not None:
            progress(done, len(modules))
    return tallies


def _measured(combination: Combination, dialects: Sequence[Dialect], module: str) -> tuple[float, list[_Figures]]:
    """The squared norm of the true sum in one module, and each tool's figures."""
    terms = _terms(combination, module)
    parts = [part for _, part, _ in terms]
    square = _square_of([factors for _, _, factors in terms])
    intended = [part.strength * part.scale for part in parts]
    figures = []
    for dialect in dialects:
        made = dialect.coefficients(parts)
        own = tuple(
            (place, _rounded(made[k][k] / part.scale if part.scale else part.strength))
            for k, (place, part, _) in enumerate(terms)
        )
        error = square(_minus_diagonal(made, intended))
        figures.append(_Figures(error, square(_off_diagonal(made)), square(made), own))
    return square(_diagonal(intended)), figures


def _migrated_term(name: str, weight: float, by_module: Mapping[str, float]) -> MigratedTerm:
    """The weight that most modules share, and the others' as factors to it."""
    shared = Counter(value for value in by_module.values() if value != 0).most_common(1)
    common = shared[0][0] if shared else 0.0 if by_module else weight
    factors = {module: _rounded(value / common) for module, value in by_module.items() if value != common}
    return MigratedTerm(name, common, factors)


def _rounded(value: float) -> float:
    """To fourteen digits: what roots and quotients added beyond is no difference between modules."""
    return float(f"{value:.14g}") + 0.0


def why_not_comparable(combination: Combination) -> str | None:
    """Why no other tool could be handed these terms; None where each is a vector of low-rank factors, scoped or not."""
    for _, source in combination.terms:
        vector = source.source if isinstance(source, Scoped) else source
        if not isinstance(vector, Vector):
            return "a method or a stage made a part of it, and other tools sum files"
        other = next((entry.title for entry in vector.modules.values() if entry.rank is None), None)
        if other is not None:
            return f"{vector.name} holds {other}, of which the tools that sum factors know nothing"
    return None


def _terms(combination: Combination, module: str) -> list[tuple[int, Part, LowRank]]:
    """The place, the part and the factors of every term that reaches a module."""
    return [
        (place, _part(weight, source, module, factors), factors)
        for place, (weight, source) in enumerate(combination.terms)
        if module in source.modules and (factors := _vector_of(source).factors(module))
    ]


def _part(weight: float, source: Source, module: str, factors: LowRank) -> Part:
    block = float(source.strength(module)) if isinstance(source, Scoped) else 1.0
    return Part(weight, factors.scale, factors.rank, block)


def _vector_of(source: Source) -> Vector:
    """The file behind a term. Raises MethodRefused for what no other tool could be handed."""
    vector = source.source if isinstance(source, Scoped) else source
    if not isinstance(vector, Vector):
        raise MethodRefused(f"{source.name}: is what a method or stage made; other tools sum files. Write it to one.")
    return vector


def _parts_by_header(combination: Combination, module: str) -> list[Part]:
    """The terms that reach a module as a tool's checks see them, before a tensor is read."""
    return [
        Part(weight, entry.scale, entry.rank or 0)
        for weight, source in combination.terms
        if (entry := _vector_of(source).modules.get(module)) is not None
    ]


def _refusal(dialect: Dialect, combination: Combination) -> str | None:
    """The first module at which the tool stops, by what the headers say."""
    for module in combination.architecture.modules:
        parts = _parts_by_header(combination, module)
        refusal = dialect.refusal(parts) if parts else None
        if refusal is not None:
            return f"refuses {refusal.what} ({module}: {refusal.found})"
    return None


Square = Callable[[Coefficients], float]
"""K -> ||sum_ij K_ij B_i A_j||_F^2; a product of unequal ranks does not exist, its K_ij is 0."""


def _square_of(factors: Sequence[LowRank]) -> Square:
    """By Gram matrices of the stacked factors, formed once; or densely where those would be larger than the weight."""
    ups = [widened(part.up).flatten(1) for part in factors]
    downs = [widened(part.down).flatten(1) for part in factors]
    if sum(part.rank for part in factors) ** 2 > ups[0].shape[0] * downs[0].shape[1]:
        return partial(_square_by_product, ups, downs)
    up, down = torch.cat(ups, dim=1), torch.cat(downs, dim=0)
    return partial(_square_by_gram, up.T @ up, down @ down.T, [part.rank for part in factors])


def _square_by_gram(up_gram: Tensor, down_gram: Tensor, ranks: Sequence[int], coefficients: Coefficients) -> float:
    """<G^B, (K x 1) G^A (K x 1)^T>, K x 1 acting on blocks; rounding may leave a tiny negative, which is 0."""
    k = torch.tensor(coefficients, dtype=torch.float64)
    if len(set(ranks)) == 1:
        blocks = down_gram.reshape(len(ranks), ranks[0], len(ranks), ranks[0])
        mixed = torch.einsum("ij,jamb,km->iakb", k, blocks, k).reshape(down_gram.shape)
    else:
        each = k.diagonal().repeat_interleave(torch.tensor(ranks))
        mixed = each.unsqueeze(1) * down_gram * each
    return max(float((up_gram * mixed).sum()), 0.0)


def _square_by_product(ups: Sequence[Tensor], downs: Sequence[Tensor], coefficients: Coefficients) -> float:
    total = torch.zeros(ups[0].shape[0], downs[0].shape[1], dtype=torch.float64)
    for up, row in zip(ups, coefficients, strict=True):
        for value, down in zip(row, downs, strict=True):
            if value != 0:
                total += value * (up @ down)
    return float(total.square().sum())


def _diagonal(values: Sequence[float]) -> list[list[float]]:
    return [[value if i == j else 0.0 for j in range(len(values))] for i, value in enumerate(values)]


def _minus_diagonal(made: Coefficients, values: Sequence[float]) -> list[list[float]]:
    return [[k - values[i] if i == j else k for j, k in enumerate(row)] for i, row in enumerate(made)]


def _off_diagonal(made: Coefficients) -> list[list[float]]:
    return _minus_diagonal(made, [row[i] for i, row in enumerate(made)])

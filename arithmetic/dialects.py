"""What other tools would have made of the same sum, and the recipe that says the same as their file.

Each tool's result is sum_ij K_ij B_i A_j (arithmetic.methods.tool_sums), where the true sum is K = diag(lambda_i s_i).
With E = K - diag, its error is the norm of sum_i B_i D_i, D_i = sum_j E_ij A_j, in float64. No matrix is formed that is
larger than the module's weight.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.combination import Combination
from arithmetic.deltas import LowRank
from arithmetic.methods.tool_sums import DIALECTS, Dialect, Part

__all__ = [
    "DIALECTS",
    "Dialect",
    "DialectOutcome",
    "MigratedTerm",
    "Migration",
    "dialect_errors",
    "dialect_outcomes",
    "migrated",
]

Coefficients = Sequence[Sequence[float]]


@dataclass(frozen=True)
class DialectOutcome:
    """The relative Frobenius error ||result - truth|| / ||truth|| over all modules, or why the tool refuses."""

    dialect: Dialect
    error: float | None
    refusal: str | None


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


def dialect_errors(combination: Combination) -> dict[str, float]:
    """Dialect name -> relative Frobenius error against the true sum; a tool that refuses the inputs is left out."""
    return {o.dialect.name: o.error for o in dialect_outcomes(combination) if o.error is not None}


def dialect_outcomes(combination: Combination) -> tuple[DialectOutcome, ...]:
    """What each known tool makes of the combination: an error, or its refusal.

    A term whose lambda is 0 is there for the tools, too: it has a rank and an alpha.
    """
    refusals = {dialect.name: _refusal(dialect, combination) for dialect in DIALECTS}
    usable = [dialect for dialect in DIALECTS if refusals[dialect.name] is None]
    errors = dict(zip(usable, _errors(combination, usable), strict=True))
    return tuple(DialectOutcome(dialect, errors.get(dialect), refusals[dialect.name]) for dialect in DIALECTS)


def migrated(dialect: Dialect, combination: Combination) -> Migration:
    """The recipe that reproduces the file that `dialect` made of `combination`, read as that tool read it.

    Its coefficients are K_ii / s_i, module by module. For a tool without cross terms the recipe is its file exactly;
    for one with them it is what of the file can be said in the inputs, and `error` is the rest.

    Raises:
        MethodRefused: the tool would not have made a file of these inputs.
    """
    weights: list[dict[str, float]] = [{} for _ in combination.terms]
    rest = whole = 0.0
    for module, terms in _modules(combination):
        parts = [part for _, part, _ in terms]
        dialect.require(parts, module)
        made = dialect.coefficients(parts)
        for k, (place, part, _) in enumerate(terms):
            weights[place][module] = made[k][k] / part.scale if part.scale else part.strength
        factors = [factors for _, _, factors in terms]
        rest += _square(_off_diagonal(made), factors)
        whole += _square(made, factors)
    found = zip(combination.terms, weights, strict=True)
    terms_made = tuple(_migrated_term(vector.name, weight, by_module) for (weight, vector), by_module in found)
    return Migration(dialect, terms_made, math.sqrt(rest / whole) if whole > 0 else 0.0)


def _migrated_term(name: str, weight: float, by_module: Mapping[str, float]) -> MigratedTerm:
    """The weight that most modules share, and the others' as factors to it."""
    shared = Counter(value for value in by_module.values() if value != 0).most_common(1)
    common = shared[0][0] if shared else 0.0 if by_module else weight
    factors = {module: value / common for module, value in by_module.items() if value != common}
    return MigratedTerm(name, common, factors)


def _modules(combination: Combination) -> Iterator[tuple[str, list[tuple[int, Part, LowRank]]]]:
    """Each module that a term reaches, with the place, the part and the factors of every term that does."""
    for module in combination.architecture.modules:
        read = ((i, w, v.factors(module)) for i, (w, v) in enumerate(combination.terms) if module in v.modules)
        terms = [(i, Part(w, factors.scale, factors.rank), factors) for i, w, factors in read]
        if terms:
            yield module, terms


def _refusal(dialect: Dialect, combination: Combination) -> str | None:
    """The first module at which the tool stops, by what the headers say."""
    for module in combination.architecture.modules:
        entries = [(w, v.modules[module]) for w, v in combination.terms if module in v.modules]
        refusal = dialect.refusal([Part(w, entry.scale, entry.rank) for w, entry in entries]) if entries else None
        if refusal is not None:
            return f"refuses {refusal.what} ({module}: {refusal.found})"
    return None


def _errors(combination: Combination, dialects: Sequence[Dialect]) -> list[float]:
    squares = [0.0] * len(dialects)
    truth = 0.0
    for _, terms in _modules(combination):
        parts = [part for _, part, _ in terms]
        factors = [factors for _, _, factors in terms]
        intended = [part.strength * part.scale for part in parts]
        truth += _square(_diagonal(intended), factors)
        for k, dialect in enumerate(dialects):
            squares[k] += _square(_minus_diagonal(dialect.coefficients(parts), intended), factors)
    return [math.sqrt(square / truth) if truth > 0 else math.inf for square in squares]


def _square(coefficients: Coefficients, factors: Sequence[LowRank]) -> float:
    """||sum_ij E_ij B_i A_j||_F^2 by Gram matrices of the stacked factors, or densely where those would be larger.

    Products B_i A_j of unequal ranks do not exist; their E_ij are 0.
    """
    rows = [i for i, row in enumerate(coefficients) if any(row)]
    if not rows:
        return 0.0
    ups = [factors[i].up.to(torch.float64).flatten(1) for i in rows]
    mixed = [_mixed(coefficients[i], factors) for i in rows]
    if sum(up.shape[1] for up in ups) ** 2 > ups[0].shape[0] * mixed[0].shape[1]:
        return float(sum((up @ down for up, down in zip(ups, mixed, strict=True)), torch.zeros(())).square().sum())
    up, down = torch.cat(ups, dim=1), torch.cat(mixed, dim=0)
    return max(float(((up.T @ up) * (down @ down.T)).sum()), 0.0)


def _mixed(row: Sequence[float], factors: Sequence[LowRank]) -> Tensor:
    """sum_j E_ij A_j: (r, n*k*k)."""
    terms = [
        value * part.down.to(torch.float64).flatten(1) for value, part in zip(row, factors, strict=True) if value != 0
    ]
    return sum(terms[1:], terms[0])


def _diagonal(values: Sequence[float]) -> list[list[float]]:
    return [[value if i == j else 0.0 for j in range(len(values))] for i, value in enumerate(values)]


def _minus_diagonal(made: Coefficients, values: Sequence[float]) -> list[list[float]]:
    return [[k - values[i] if i == j else k for j, k in enumerate(row)] for i, row in enumerate(made)]


def _off_diagonal(made: Coefficients) -> list[list[float]]:
    return _minus_diagonal(made, [row[i] for i, row in enumerate(made)])

"""What other tools would have made of the same sum, and the recipe that says the same as their file.

Each tool's result is sum_ij K_ij B_i A_j (arithmetic.methods.tool_sums), where the true sum is K = diag(lambda_i s_i).
With E = K - diag and the Gram matrices G^B_ik = B_i^T B_k, G^A_jm = A_j A_m^T,

    ||sum_ij E_ij B_i A_j||_F^2 = sum_ijkm E_ij E_km tr(G^B_ki G^A_jm)

in float64. No product of factors is formed that is larger than the module's weight.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

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

    Its coefficients are K_ii / s_i, module by module, to fourteen digits. For a tool without cross terms the recipe is
    the file; for one with them it is what of the file can be said in the inputs, and `error` is the rest.

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
            weights[place][module] = _rounded(made[k][k] / part.scale if part.scale else part.strength)
        square = _square_of([factors for _, _, factors in terms])
        rest += square(_off_diagonal(made))
        whole += square(made)
    found = zip(combination.terms, weights, strict=True)
    terms_made = tuple(_migrated_term(vector.name, weight, by_module) for (weight, vector), by_module in found)
    return Migration(dialect, terms_made, math.sqrt(rest / whole) if whole > 0 else 0.0)


def _migrated_term(name: str, weight: float, by_module: Mapping[str, float]) -> MigratedTerm:
    """The weight that most modules share, and the others' as factors to it."""
    shared = Counter(value for value in by_module.values() if value != 0).most_common(1)
    common = shared[0][0] if shared else 0.0 if by_module else weight
    factors = {module: _rounded(value / common) for module, value in by_module.items() if value != common}
    return MigratedTerm(name, common, factors)


def _rounded(value: float) -> float:
    """To fourteen digits: what roots and quotients added beyond is no difference between modules."""
    return float(f"{value:.14g}") + 0.0


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
        square = _square_of([factors for _, _, factors in terms])
        intended = [part.strength * part.scale for part in parts]
        truth += square(_diagonal(intended))
        for k, dialect in enumerate(dialects):
            squares[k] += square(_minus_diagonal(dialect.coefficients(parts), intended))
    return [math.sqrt(square / truth) if truth > 0 else math.inf for square in squares]


Square = Callable[[Coefficients], float]
"""K -> ||sum_ij K_ij B_i A_j||_F^2; a product of unequal ranks does not exist, its K_ij is 0."""


def _square_of(factors: Sequence[LowRank]) -> Square:
    """By Gram matrices of the stacked factors, formed once; or densely where those would be larger than the weight."""
    ups = [part.up.to(torch.float64).flatten(1) for part in factors]
    downs = [part.down.to(torch.float64).flatten(1) for part in factors]
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

"""What other tools would have made of the same sum, without forming a dense matrix.

Each tool's result is sum_ij K_ij B_i A_j for some K, where the true sum is K = diag(lambda_i s_i). With E = K - diag
and the Gram matrices G^B_ik = B_i^T B_k, G^A_jm = A_j A_m^T,

    ||sum_ij E_ij B_i A_j||_F^2 = sum_ijkm E_ij E_km tr(G^B_ki G^A_jm)

in float64. Cross terms (i != j) are defined for equal ranks only; the tools refuse anything else.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.combination import Combination
from arithmetic.deltas import LowRank


class Part(NamedTuple):
    """One term of one module as a dialect sees it: lambda, s = alpha / r, r."""

    weight: float
    scale: float
    rank: int


Coefficients = Callable[[Sequence[Part]], list[list[float]]]


@dataclass(frozen=True)
class Dialect:
    """One tool's way to sum; `coefficients` gives its K, `needs_equal_ranks` tells what it refuses."""

    name: str
    title: str
    needs_equal_ranks: bool
    coefficients: Coefficients


@dataclass(frozen=True)
class DialectOutcome:
    """The relative Frobenius error ||result - truth|| / ||truth|| over all modules, or why the tool refuses."""

    dialect: Dialect
    error: float | None
    refusal: str | None


def peft_linear(parts: Sequence[Part]) -> list[list[float]]:
    """PEFT `add_weighted_adapter(combination_type="linear")`, peft 0.21, tuners/lora/model.py.

    A' = sum_j sgn(w_j s_j) sqrt|w_j s_j| A_j, B' = sum_i sqrt|w_i s_i| B_i: the diagonal is right, the rest is not.
    """
    c = [part.weight * part.scale for part in parts]
    return [[math.sqrt(abs(ci)) * math.copysign(math.sqrt(abs(cj)), cj) for cj in c] for ci in c]


def kohya_merge(parts: Sequence[Part]) -> list[list[float]]:
    """kohya-ss sd-scripts `merge_lora.py` (2026-02), lines 175-193.

    sqrt(alpha/alpha_0) * ratio multiplies both down and up (its absolute value on up): K_ij = sqrt(s_i s_j) |w_i| w_j.
    """
    return [[math.sqrt(abs(i.scale * j.scale)) * abs(i.weight) * j.weight for j in parts] for i in parts]


def kohya_concat(parts: Sequence[Part]) -> list[list[float]]:
    """kohya-ss `merge_lora.py --concat`: ratio on both sides, and alpha_0 is divided by the new rank.

    K_ii = |w_i| w_i alpha_i / sum_k r_k.
    """
    total = sum(part.rank for part in parts)
    return _diagonal([abs(part.weight) * part.weight * part.scale * part.rank / total for part in parts])


def peft_svd(parts: Sequence[Part]) -> list[list[float]]:
    """PEFT `combination_type="svd"` before pull request 3111, at full rank: s counts twice, K_ii = w_i s_i^2."""
    return _diagonal([part.weight * part.scale**2 for part in parts])


DIALECTS = (
    Dialect("peft-linear", "PEFT add_weighted_adapter, linear", True, peft_linear),
    Dialect("kohya-merge", "kohya merge_lora.py", True, kohya_merge),
    Dialect("kohya-concat", "kohya merge_lora.py --concat", False, kohya_concat),
    Dialect("peft-svd", "PEFT add_weighted_adapter, svd, before pull request 3111", False, peft_svd),
)


def dialect_errors(combination: Combination) -> dict[str, float]:
    """Dialect name -> relative Frobenius error against the true sum; a tool that refuses the inputs is left out."""
    return {o.dialect.name: o.error for o in dialect_outcomes(combination) if o.error is not None}


def dialect_outcomes(combination: Combination) -> tuple[DialectOutcome, ...]:
    """What each known tool makes of the combination: an error, or its refusal."""
    unequal = _first_unequal(combination)
    refusal = f"refuses unequal ranks ({unequal})" if unequal else None
    usable = [dialect for dialect in DIALECTS if refusal is None or not dialect.needs_equal_ranks]
    errors = dict(zip(usable, _errors(combination, usable), strict=True))
    return tuple(
        DialectOutcome(dialect, errors.get(dialect), None if dialect in errors else refusal) for dialect in DIALECTS
    )


def _errors(combination: Combination, dialects: Sequence[Dialect]) -> list[float]:
    squares = [0.0] * len(dialects)
    truth = 0.0
    for module in combination.architecture.modules:
        terms = [(w, v.factors(module)) for w, v in combination.terms if w != 0 and module in v.modules]
        if not terms:
            continue
        parts = [Part(weight, factors.scale, factors.rank) for weight, factors in terms]
        intended = _diagonal([part.weight * part.scale for part in parts])
        products = _gram(terms)
        truth += _square(torch.tensor(intended, dtype=torch.float64), products)
        for k, dialect in enumerate(dialects):
            error = torch.tensor(dialect.coefficients(parts), dtype=torch.float64)
            squares[k] += _square(error - torch.tensor(intended, dtype=torch.float64), products)
    return [math.sqrt(square / truth) if truth > 0 else math.inf for square in squares]


def _gram(terms: Sequence[tuple[float, LowRank]]) -> dict[tuple[int, int, int, int], float]:
    """(i, j, k, m) -> tr((B_k^T B_i)(A_j A_m^T)), wherever the products B_i A_j and B_k A_m exist."""
    ups = [factors.up.to(torch.float64).flatten(1) for _, factors in terms]
    downs = [factors.down.to(torch.float64).flatten(1) for _, factors in terms]
    count = range(len(terms))
    pairs = [(i, j) for i in count for j in count if terms[i][1].rank == terms[j][1].rank]
    up_grams = {(k, i): ups[k].T @ ups[i] for k in count for i in count}
    down_grams = {(j, m): downs[j] @ downs[m].T for j in count for m in count}
    return {
        (i, j, k, m): torch.einsum("ab,ba->", up_grams[k, i], down_grams[j, m]).item()
        for i, j in pairs
        for k, m in pairs
    }


def _square(coefficients: Tensor, products: dict[tuple[int, int, int, int], float]) -> float:
    """||sum_ij E_ij B_i A_j||_F^2; rounding may leave a tiny negative number, which is 0."""
    total = math.fsum(
        coefficients[i, j].item() * coefficients[k, m].item() * value for (i, j, k, m), value in products.items()
    )
    return max(total, 0.0)


def _diagonal(values: Sequence[float]) -> list[list[float]]:
    return [[value if i == j else 0.0 for j in range(len(values))] for i, value in enumerate(values)]


def _first_unequal(combination: Combination) -> str | None:
    """The first module in which two terms have different ranks."""
    for module in combination.architecture.modules:
        ranks = [vector.modules[module].rank for _, vector in combination.terms if module in vector.modules]
        if len(set(ranks)) > 1:
            return f"{module}: {' and '.join(map(str, ranks))}"
    return None

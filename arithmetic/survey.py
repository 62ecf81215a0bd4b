"""One pass over the tensors of a combination: finiteness, magnitudes, and whether the sum changes anything."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from arithmetic.combination import Combination, distinct_terms, reached_modules
from arithmetic.concatenation import column_peaks, row_peaks
from arithmetic.deltas import width
from arithmetic.vector import Vector

PROBES = 4
SEED = 7
CANCELLATION = 1e-7
"""A sum smaller than this against its terms is rounding: float32 factors carry 6e-8."""


class Peak(NamedTuple):
    """The largest magnitude, and the module that holds it."""

    value: float
    module: str


NO_PEAK = Peak(0.0, "")


@dataclass(frozen=True)
class TermSurvey:
    """One distinct vector: ||dW x|| over all modules, and where it holds NaN or infinity."""

    vector: Vector
    weight: float
    norm: float
    non_finite: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """Probe norms of the terms, of their sum, and the largest entry that a file would have to hold."""

    terms: tuple[TermSurvey, ...]
    sum_norm: float
    peak: Peak
    balanced_peak: Peak
    """As `peak`, for a file whose factors are balanced first (fp16)."""

    @property
    def changes_nothing(self) -> bool:
        """Whether the terms cancel, or are all zero."""
        return self.sum_norm <= CANCELLATION * math.hypot(*(term.weight * term.norm for term in self.terms))


@dataclass
class _Tally:
    """Squared norms as they add up."""

    terms: list[float]
    non_finite: list[list[str]]
    total: float = 0.0
    peak: Peak = NO_PEAK
    balanced_peak: Peak = NO_PEAK


def survey(combination: Combination, *, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Read every module once. Gaussian probes x, in float64; ||dW x|| estimates the Frobenius norm of dW."""
    distinct = distinct_terms(combination)
    tally = _Tally([0.0] * len(distinct), [[] for _ in distinct])
    generator = torch.Generator().manual_seed(SEED)
    modules = reached_modules(combination)
    for done, module in enumerate(modules, start=1):
        _survey_module(combination, distinct, module, generator, tally)
        if progress is not None:
            progress(done, len(modules))
    terms = tuple(
        TermSurvey(vector, weight, math.sqrt(tally.terms[i]), tuple(tally.non_finite[i]))
        for i, (weight, vector) in enumerate(distinct)
    )
    return Survey(terms, math.sqrt(tally.total), tally.peak, tally.balanced_peak)


def _survey_module(
    combination: Combination,
    distinct: tuple[tuple[float, Vector], ...],
    module: str,
    generator: torch.Generator,
    tally: _Tally,
) -> None:
    spec = combination.architecture.modules[module]
    x = torch.randn(width(spec), PROBES, generator=generator, dtype=torch.float64)
    total = torch.zeros(spec.shape[0], PROBES, dtype=torch.float64)
    for i, (weight, vector) in enumerate(distinct):
        if module not in vector.modules:
            continue
        up, down = vector.factors(module).matrices()
        ups, downs = column_peaks(up) * abs(weight), row_peaks(down)
        peak = torch.maximum(ups, downs).max().item()
        if not math.isfinite(peak):
            tally.non_finite[i].append(module)
            continue
        if weight != 0:
            tally.peak = max(tally.peak, Peak(peak, module))
            tally.balanced_peak = max(tally.balanced_peak, Peak((2 * ups * downs).sqrt().max().item(), module))
        y = up @ (down @ x)
        tally.terms[i] += y.square().sum().item()
        total += weight * y
    tally.total += total.square().sum().item()

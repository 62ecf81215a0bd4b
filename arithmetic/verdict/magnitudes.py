"""What the measures of the vectors tell: finiteness, entries that a dtype cannot hold, and sums that change nothing."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from arithmetic.measures import Measure, Measures
from arithmetic.precision import Precision
from arithmetic.sources.combination import Combination, Plan, Scoped, distinct_terms
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector
from arithmetic.verdict.finding import Finding, modules_of, some
from arithmetic.verdict.structure import vectors_in
from arithmetic.verdict.usage import same_content

CANCELLATION = 1e-6
"""A sum smaller than this against its terms is rounding: factors carry 6e-8 of their own, measures as much again."""

Measured = Mapping[int, Measures]
"""The identity of a vector -> its measures."""


class Size(NamedTuple):
    """How large a delta is. `sketch` is linear in it; None where the delta is something else than a weighted sum."""

    norm: float
    """At most this."""
    sketch: tuple[float, float] | None


NOTHING = Size(0.0, (0.0, 0.0))
UNKNOWN = Size(1.0, None)


@dataclass(frozen=True)
class Peak:
    """The largest entry that a factor of the file to come would have, and where."""

    value: float
    module: str


def magnitude_findings(
    combination: Combination, planned: Plan, measured: Measured, precision: Precision
) -> Iterator[Finding]:
    """`measured` holds every vector of `vectors_in`; what is made of them otherwise than by sums stays unknown."""
    broken = list(_non_finite(combination, measured))
    if broken:
        yield from broken
        return
    sizes = [
        _sum([(weight, _size(source, module.module, measured)) for weight, source in module.terms])
        for module in planned.modules
    ]
    if _is_nothing(sizes):
        yield Finding(
            "no-change",
            "error",
            "The sum is zero in every module: it would change nothing.",
            "Check the weights, and that the terms do not cancel.",
        )
        return
    yield from _dead(combination, measured)
    yield from _alike(combination, measured)
    yield from _overflow(planned, measured, precision)


def _non_finite(combination: Combination, measured: Measured) -> Iterator[Finding]:
    for source in {vector.content: vector for vector in vectors_in(combination)}.values():
        if modules := measured[id(source)].non_finite:
            yield Finding(
                "non-finite",
                "error",
                f"{source.name}: NaN or infinity in {modules_of(modules)}: {some(modules)}.",
                "Train or export it again.",
            )


def _size(source: Source, module: str, measured: Measured) -> Size:
    if module not in source.modules and not isinstance(source, Combination):
        return NOTHING
    if isinstance(source, Combination):
        return _sum([(weight, _size(term, module, measured)) for weight, term in source.terms_of(module)])
    if isinstance(source, Scoped):
        return _sum([(float(source.strength(module)), _size(source.source, module, measured))])
    if isinstance(source, Vector):
        measure = measured[id(source)].modules.get(module)
        return Size(measure.norm, measure.sketch) if measure else UNKNOWN
    inner = [_size(part, module, measured) for _, part in source.parts]
    return NOTHING if inner and _is_nothing(inner) else UNKNOWN


def _sum(terms: Sequence[tuple[float, Size]]) -> Size:
    terms = [(weight, size) for weight, size in terms if weight != 0 and size != NOTHING]
    norm = math.fsum(abs(weight) * size.norm for weight, size in terms)
    if any(size.sketch is None for _, size in terms):
        return Size(norm, None)
    first, second = (math.fsum(weight * size.sketch[i] for weight, size in terms if size.sketch) for i in (0, 1))
    return Size(norm, (first, second))


def _is_nothing(sizes: Sequence[Size]) -> bool:
    """Whether the deltas of these sizes, of different modules, are all rounding."""
    if any(size.sketch is None for size in sizes):
        return False
    of_sum = math.hypot(*(number for size in sizes for number in size.sketch or ())) / math.sqrt(2)
    return of_sum <= CANCELLATION * math.hypot(*(size.norm for size in sizes))


def _dead(combination: Combination, measured: Measured) -> Iterator[Finding]:
    for weight, source in distinct_terms(combination):
        sizes = [_size(source, module, measured) for module in source.modules]
        if weight == 0 or _is_nothing(sizes):
            why = "its weights add up to 0" if weight == 0 else "all its deltas are zero"
            yield Finding("dead-term", "warning", f"{source.name} has no effect: {why}.", "Leave it out.")


def _alike(combination: Combination, measured: Measured) -> Iterator[Finding]:
    """Different files that hold the same deltas, in another layout or with alpha folded in."""
    vectors = {vector.content: vector for vector in vectors_in(combination)}
    for one, other in combinations(vectors.values(), 2):
        left, right = measured[id(one)], measured[id(other)]
        if left.norm > 0 and _are_alike(left, right):
            yield same_content([one.name, other.name])


def _are_alike(left: Measures, right: Measures) -> bool:
    if left.modules.keys() != right.modules.keys():
        return False
    pairs = [(one, right.modules[module]) for module, one in left.modules.items()]
    apart = math.hypot(*(a - b for one, other in pairs for a, b in zip(one.sketch, other.sketch, strict=True)))
    return apart <= CANCELLATION * left.norm


def _overflow(planned: Plan, measured: Measured, precision: Precision) -> Iterator[Finding]:
    peaks = [
        Peak(_peak(weight, measure, precision), module.module)
        for module in planned.modules
        for weight, source in module.terms
        if isinstance(source, Vector) and (measure := measured[id(source)].modules.get(module.module))
    ]
    peak = max(peaks, key=lambda peak: peak.value, default=Peak(0.0, ""))
    if peak.value > precision.largest:
        yield Finding(
            f"{precision}-overflow",
            "error",
            f"{peak.module}: an entry of {peak.value:.3g} does not fit {precision}.",
            "Lower the weight, or write fp32 or bf16." if precision is Precision.FP16 else "Lower the weight.",
        )


def _peak(weight: float, measure: Measure, precision: Precision) -> float:
    """The largest entry of a term's factors in the file: lambda is folded into up; fp16 balances the two first."""
    if precision is Precision.FP16 and measure.down > 0:
        return math.sqrt(abs(weight)) * measure.balanced
    return max(abs(weight) * measure.up, measure.down)

"""A range of strengths for a style vector beside an acceleration vector, from their norms and their overlap alone.

This is a rule of thumb: it looks at weights, never at a picture. A vector was trained at strength 1, and a little more
than that is common, so the range ends at CUSTOMARY unless the two meet first. They meet in two ways. The style's part
along the acceleration vector changes that one's effective strength, by <D_s, D_l> / ||D_l||^2 for each unit of the
style's; beyond DRIFT of it few steps stop being enough. And what the style does within the acceleration's leading
directions, ||U U^T D_s V V^T||, disturbs it without adding to it; beyond DISTURBANCE of the acceleration's own norm
little of it is left alone. The range begins at half of where it ends.
"""

import math
from dataclasses import dataclass
from typing import Literal

from arithmetic.interference import Interference

CUSTOMARY = 1.25
DRIFT = 0.1
DISTURBANCE = 0.5

Limit = Literal["customary", "drift", "disturbance"]


@dataclass(frozen=True)
class StrengthRange:
    """Strengths of `vector` that the rule of thumb suggests beside `beside`, and which of its limits ends the range."""

    vector: str
    beside: str
    low: float
    high: float
    limit: Limit
    reason: str


def suggested_strengths(report: Interference, vector: Literal["a", "b"] = "a") -> StrengthRange | None:
    """The range for `vector`, the other one standing at the report's strength; None where either is zero.

    A negative strength of the other one counts by its size.
    """
    overlap = report.overlap
    own, other, inside = (
        (overlap.norm_a, overlap.norm_b, report.a_in_b)
        if vector == "a"
        else (overlap.norm_b, overlap.norm_a, report.b_in_a)
    )
    name, beside = (report.a, report.b) if vector == "a" else (report.b, report.a)
    weight = abs(report.weights[1 if vector == "a" else 0])
    if own == 0 or other == 0 or weight == 0:
        return None
    drift = _ratio(DRIFT * weight * other**2, abs(overlap.inner))
    disturbance = _ratio(DISTURBANCE * weight * other, own * math.sqrt(inside.share) if inside else 0.0)
    limits: dict[Limit, float] = {"customary": CUSTOMARY, "drift": drift, "disturbance": disturbance}
    limit = min(limits, key=lambda key: limits[key])
    high = math.floor(limits[limit] * 100) / 100
    return StrengthRange(name, beside, round(high / 2, 2), high, limit, _reason(limit, beside, overlap.inner))


def _reason(limit: Limit, beside: str, inner: float) -> str:
    match limit:
        case "customary":
            return (
                f"the two hardly meet: at {CUSTOMARY} it changes the strength of {beside} by less than {DRIFT:.0%} and "
                f"disturbs less than {DISTURBANCE:.0%} of it"
            )
        case "drift":
            change = "adds to" if inner > 0 else "takes from"
            return f"there it {change} the strength of {beside} {DRIFT:.0%}, being in part the same change"
        case "disturbance":
            return f"there its part within the leading directions of {beside} reaches {DISTURBANCE:.0%} of that norm"


def _ratio(allowed: float, spent: float) -> float:
    """The strength at which what is spent for each unit reaches what is allowed."""
    return allowed / spent if spent > 0 else math.inf

"""How two vectors meet, and which strengths that suggests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from workbench.recipes.architectures import Architectures
from workbench.recipes.references import Resolved, resolve
from workbench.sums.checking import is_acceleration
from workbench.sums.composing import stoppable

if TYPE_CHECKING:
    from arithmetic import Containment, Interference, Resources, StrengthRange
    from registry import Registry, Version


@dataclass(frozen=True)
class Recommended:
    """What a version itself recommends; None where it says nothing."""

    vector: str
    strength: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class InterferenceReport:
    """The measured facts, the vector that strengths are suggested for, and what the versions themselves recommend."""

    interference: "Interference"
    style: Literal["a", "b"]
    """Which of the two stands beside the other one, the acceleration vector where one is known to be that."""
    suggested: "StrengthRange | None"
    """A rule of thumb from weights alone (see arithmetic.strengths); None where either vector is zero."""
    recommended: tuple[Recommended, ...]

    @property
    def inside(self) -> "Containment | None":
        """The part of the style vector within the leading directions of the other one."""
        return self.interference.a_in_b if self.style == "a" else self.interference.b_in_a


def interfere(
    registry: "Registry | None",
    a: str,
    b: str,
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    resources: "Resources | None" = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], object] | None = None,
) -> InterferenceReport:
    """Compare two vectors, by references or paths; strengths are suggested for the one that is no acceleration.

    Raises NotAVector, UnknownPath, NotFound, and AlgebraError for two architectures or vectors that need a base.
    """
    from arithmetic import DEFAULT_RESOURCES, interference, suggested_strengths

    found = [resolve(registry, reference) for reference in (a, b)]
    known = Architectures(registry)
    left, right = (known.open(one) for one in found)
    notify = stoppable(progress, cancelled)
    report = interference(left, right, weights, resources=resources or DEFAULT_RESOURCES, progress=notify)
    style: Literal["a", "b"] = (
        "b" if is_acceleration(found[0].version) and not is_acceleration(found[1].version) else "a"
    )
    return InterferenceReport(report, style, suggested_strengths(report, style), _recommended(found))


def at_strengths(report: InterferenceReport, weights: tuple[float, float]) -> InterferenceReport:
    """The same comparison at other strengths; nothing is read again, for no overlap depends on them."""
    from arithmetic import suggested_strengths

    interference = replace(report.interference, weights=weights)
    return replace(report, interference=interference, suggested=suggested_strengths(interference, report.style))


def _recommended(found: list[Resolved]) -> tuple[Recommended, ...]:
    return tuple(_recommendation(one.version) for one in found if one.version is not None)


def _recommendation(version: "Version") -> Recommended:
    low, high = version.recommended_low, version.recommended_high
    return Recommended(version.ref, version.recommended_strength, low, high)

"""The verdict on a recipe before any work, and what other tools' merges would have made of it."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from workbench.errors import UnsupportedLayout
from workbench.recipes.resolving import ResolvedRecipe, resolve_recipe, with_stages
from workbench.sums.dossiers import known_of, profile_findings
from workbench.sums.measuring import measures_of

if TYPE_CHECKING:
    from arithmetic import Combination, Finding, Measures, SamplingSettings, Stage, Verdict
    from formats import Layout
    from registry import Registry, Version

OUTPUT_LAYOUTS = ("kohya", "kohya-sgm", "diffusers", "comfy", "peft")


@dataclass(frozen=True)
class ToolOutcome:
    """What another tool makes of the same sum."""

    name: str
    """As `--as` takes it."""
    title: str
    relative_error: float | None
    """||its file - the true sum|| / ||the true sum||; None where it refuses."""
    refusal: str | None
    same_as: str | None
    """The recipe that says in true sums what its file holds; None where it refuses."""
    cross_terms: float | None
    """The share of its file that no recipe of these inputs says: ||file - that recipe|| / ||file||."""


@dataclass(frozen=True)
class CheckReport:
    """A verdict, and what each known way of merging linearly elsewhere makes of the same sum."""

    recipe: str
    locked: str
    base: str | None
    verdict: "Verdict"
    not_compared: str | None = None
    """Why no other tool can be compared; None where they can."""
    combination: "Combination | None" = field(default=None, repr=False, compare=False)
    """The sum, as far as it could be judged."""

    @cached_property
    def tools(self) -> tuple[ToolOutcome, ...]:
        """What the others make of it; every vector is read for that once it is asked for."""
        return () if self.not_compared or self.combination is None else tool_outcomes(self.combination)


def check(
    registry: "Registry | None",
    text: str,
    base: str | None = None,
    *,
    layout: str = "kohya",
    stages: "tuple[Stage, ...]" = (),
    tool: str | None = None,
) -> CheckReport:
    """Judge a recipe for a file in `layout`; writes nothing. Without a registry, its references are paths.

    `stages` are the same as `| rank(64)` and the like at the recipe's end, `tool` sums as that tool does.
    """
    resolved = resolve_recipe(registry, with_stages(text, stages), base, tool=tool)
    return check_resolved(registry, resolved, layout=layout)


def check_resolved(registry: "Registry | None", resolved: ResolvedRecipe, *, layout: str = "kohya") -> CheckReport:
    """Judge a recipe whose references were found; other tools are compared where the verdict allows the sum."""
    from arithmetic import why_not_comparable

    verdict = verdict_of(registry, resolved, layout=layout)
    reason = why_not_comparable(resolved.combination) if verdict.ok else "the sum is refused"
    base = resolved.base.ref if resolved.base else None
    return CheckReport(str(resolved.recipe), str(resolved.locked), base, verdict, reason, resolved.combination)


def tool_outcomes(combination: "Combination") -> tuple[ToolOutcome, ...]:
    """Every known tool's error on the vectors of a sum, and the recipe that its file amounts to."""
    from arithmetic import dialect_outcomes

    return tuple(
        ToolOutcome(
            outcome.dialect.name,
            outcome.dialect.title,
            outcome.error,
            outcome.refusal,
            str(outcome.migration) if outcome.migration else None,
            outcome.migration.error if outcome.migration else None,
        )
        for outcome in dialect_outcomes(combination)
    )


def verdict_of(
    registry: "Registry | None",
    resolved: ResolvedRecipe,
    *,
    layout: str | None = "kohya",
    settings: "SamplingSettings | None" = None,
) -> "Verdict":
    """What arithmetic finds, with what only the registry knows; `settings` are how the sum is going to be sampled.

    `layout` is the output file's; None where the sum is baked into a base.

    Tensors are read only of vectors that were never measured, and not where the headers forbid the sum; what is
    measured of a registered vector is recorded.
    """
    from arithmetic import Verdict, check, check_headers

    written = None if layout is None else output_layout(layout)
    of_base = base_findings(resolved)
    combination = resolved.vector if written is None else resolved.combination
    headers = check_headers(combination, layout=written, has_base=resolved.base is not None)
    if of_base or not headers.ok:
        return Verdict.of((*of_base, *headers.findings))
    verdict = check(
        combination,
        layout=written,
        dtype=resolved.recipe.dtype,
        known=known_of(registry, resolved, settings),
        measures=_measures(registry, resolved),
    )
    return Verdict.of((*verdict.findings, *profile_findings(resolved)))


def _measures(registry: "Registry | None", resolved: ResolvedRecipe) -> "dict[Hashable, Measures]":
    """Content -> measures of the registered vectors."""
    versions = {version.ref: (vector, version) for _, vector, version in resolved.vectors if version}
    if registry is None:
        return {}
    return {vector.content: measures_of(registry, version, vector) for vector, version in versions.values()}


def output_layout(name: str) -> "Layout":
    """The layout of that name that outputs are written in. Raises UnsupportedLayout."""
    from formats import Layout

    if name not in OUTPUT_LAYOUTS:
        raise UnsupportedLayout(f"format {name!r}: expected one of {', '.join(OUTPUT_LAYOUTS)}")
    return Layout(name)


def is_acceleration(version: "Version | None") -> bool:
    """Whether a version was registered as an acceleration vector."""
    return version is not None and version.kind == "acceleration"


def base_findings(resolved: ResolvedRecipe) -> "tuple[Finding, ...]":
    """An error for each vector that was made for another architecture than the base's."""
    from arithmetic import Finding

    base, table = resolved.base, resolved.architecture
    if base is None or table is None:
        return ()
    return tuple(
        Finding(
            "architecture-mismatch",
            "error",
            f"{vector.name} is {vector.architecture.name}, the base {base.ref} is {table.name}.",
            "Take a base and vectors of one architecture.",
        )
        for _, vector, _ in resolved.vectors
        if vector.architecture.modules != table.modules
    )

"""The verdict on a recipe before any work, and what other tools' merges would have made of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import UnsupportedLayout
from workbench.recipes import ResolvedRecipe, resolve_recipe, with_stages

if TYPE_CHECKING:
    from arithmetic import DialectOutcome, Finding, Stage, Verdict
    from formats import Layout
    from registry import Registry, Version

OUTPUT_LAYOUTS = ("kohya", "diffusers", "peft")


@dataclass(frozen=True)
class CheckReport:
    """A verdict, and what each known way of merging linearly elsewhere makes of the same sum."""

    recipe: str
    locked: str
    base: str | None
    verdict: "Verdict"
    dialects: "tuple[DialectOutcome, ...]"


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
    return check_resolved(resolved, layout=layout)


def check_resolved(resolved: ResolvedRecipe, *, layout: str = "kohya") -> CheckReport:
    """Judge a recipe whose references were found; the dialects are measured where the verdict allows the sum."""
    from arithmetic import dialect_outcomes

    verdict = verdict_of(resolved, layout=layout)
    dialects = dialect_outcomes(resolved.combination) if verdict.ok else ()
    base = resolved.base.ref if resolved.base else None
    return CheckReport(str(resolved.recipe), str(resolved.locked), base, verdict, dialects)


def verdict_of(resolved: ResolvedRecipe, *, layout: str = "kohya") -> "Verdict":
    """What arithmetic finds, and what only the registry knows: the base, and which vectors are accelerations."""
    from arithmetic import Verdict, check

    verdict = check(
        resolved.combination,
        layout=output_layout(layout),
        dtype=resolved.recipe.dtype,
        accelerations=frozenset(vector.name for _, vector, version in resolved.vectors if is_acceleration(version)),
    )
    return Verdict((*base_findings(resolved), *verdict.findings))


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

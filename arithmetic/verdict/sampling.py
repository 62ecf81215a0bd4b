"""Vectors whose sampling profiles exclude each other, or the settings that are asked for."""

from collections.abc import Iterator
from itertools import combinations

from arithmetic.verdict.finding import Finding
from arithmetic.verdict.known import Dossier, Known, SamplingProfile, SamplingSettings

CODE = "sampling-constraints"


def sampling_findings(known: Known) -> Iterator[Finding]:
    """One finding a pair of vectors, one a vector that the settings do not suit."""
    dossiers = list({dossier.name: dossier for dossier in known.vectors}.values())
    for left, right in combinations(dossiers, 2):
        if reasons := list(_exclusions(left.profile, right.profile)):
            yield Finding(
                CODE,
                "warning",
                f"{left.name} and {right.name} cannot both be sampled as they were made for: {'; '.join(reasons)}.",
                "Keep one of them, or try which of the two ways bears the other.",
            )
    if known.settings is not None:
        yield from (finding for one in dossiers for finding in _unsuitable(one, known.settings))


def _exclusions(left: SamplingProfile, right: SamplingProfile) -> Iterator[str]:
    """Why no setting suits both."""
    for what, one, other in (
        ("solver", left.solver, right.solver),
        ("guidance counted as", left.convention, right.convention),
        ("timestep spacing", left.spacing, right.spacing),
        ("eta", left.eta, right.eta),
        ("original inference steps", left.original_inference_steps, right.original_inference_steps),
        ("timesteps", left.timesteps, right.timesteps),
    ):
        if one is not None and other is not None and one != other:
            yield f"{what} {_shown(one)} and {_shown(other)}"
    if left.steps and right.steps and not set(left.steps) & set(right.steps):
        yield f"{_alternatives(left.steps)} steps and {_alternatives(right.steps)}"
    if left.guidance and right.guidance and left.convention == right.convention:
        low, high = max(left.guidance[0], right.guidance[0]), min(left.guidance[1], right.guidance[1])
        if low > high:
            yield f"guidance {_span(left.guidance)} and {_span(right.guidance)}"


def _unsuitable(dossier: Dossier, settings: SamplingSettings) -> Iterator[Finding]:
    asked = list(_left(dossier.profile, settings))
    if asked:
        yield Finding(
            CODE, "warning", f"{dossier.name} is made for {'; '.join(asked)}.", "Take the settings that it is made for."
        )


def _left(profile: SamplingProfile, settings: SamplingSettings) -> Iterator[str]:
    """What the profile says, wherever the settings say something else."""
    if profile.solver is not None and profile.solver != settings.solver:
        yield f"solver {profile.solver}, not {settings.solver}"
    if profile.steps is not None and settings.steps not in profile.steps:
        yield f"{_alternatives(profile.steps)} steps, not {settings.steps}"
    scales = profile.guidance_scales
    if scales is not None and not scales[0] <= settings.guidance <= max(1.0, scales[1]):
        yield f"guidance {_span(scales)}, not {settings.guidance:g}"
    for what, said, taken in (
        ("timestep spacing", profile.spacing, settings.spacing),
        ("eta", profile.eta, settings.eta),
        ("original inference steps", profile.original_inference_steps, settings.original_inference_steps),
        ("timesteps", profile.timesteps, settings.timesteps),
    ):
        if said is not None and taken is not None and said != taken:
            yield f"{what} {_shown(said)}" + (f", not {_shown(taken)}" if taken != () else "")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _alternatives(steps: tuple[int, ...]) -> str:
    listed = sorted(set(steps))
    if len(listed) > 3 and listed[-1] - listed[0] == len(listed) - 1:
        return f"{listed[0]} to {listed[-1]}"
    *rest, last = map(str, listed)
    return f"{', '.join(rest)} or {last}" if rest else last


def _span(ends: tuple[float, float]) -> str:
    return f"{ends[0]:g}" if ends[0] == ends[1] else f"{ends[0]:g} to {ends[1]:g}"

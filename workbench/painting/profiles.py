"""How to paint: the settings of a picture, and what the vectors of a recipe recommend."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from workbench.giving.provenance import ancestors
from workbench.intake.importing import vector_kind
from workbench.painting.published_profiles import names_of, published_profile
from workbench.recipes.resolving import ResolvedRecipe, WeightedVector
from workbench.sums.dossiers import dossier_of

if TYPE_CHECKING:
    from arithmetic import SamplingProfile
    from registry import Registry, Version
    from sampling import Settings, Solver

USUAL_STEPS = 4
"""What is taken of the steps that a profile allows, or the next more."""

INIT_STRENGTH = 0.8

FAST = ("acceleration", "composition")
"""Kinds of vectors that may make few steps enough."""

PRECEDENCE = (*FAST, "other", "style", "base")
"""Whose profile counts where several say something."""


@dataclass(frozen=True)
class Sampling:
    """How to paint; guidance 1 is one evaluation a step, more is two."""

    solver: str = "lcm"
    steps: int = 4
    guidance: float = 1.0
    spacing: str = "trailing"
    eta: float = 0.0
    width: int | None = None
    """Pixels; None: the base's own size, or that of `init`."""
    height: int | None = None
    negative: str = ""
    """What guidance leads away from, in place of the empty prompt."""
    init: str | None = None
    """The picture to begin with: a path, or the sha256 under which the registry keeps it."""
    init_strength: float = INIT_STRENGTH
    """How much of `init` is painted over: 1 leaves next to nothing of it."""
    original_inference_steps: int | None = None
    """Of lcm and tcd: how many timesteps the vector was distilled on, of which `steps` are taken; None: 50."""
    timesteps: tuple[int, ...] | None = None
    """Exactly these, `steps` of them, from noise to picture."""

    def __post_init__(self) -> None:
        if self.timesteps is not None:  # JSON has lists
            object.__setattr__(self, "timesteps", tuple(self.timesteps))

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Sampling":
        """How the picture with this record was painted."""
        said = {field.name: record[field.name] for field in fields(cls) if record.get(field.name) is not None}
        return cls(**said)

    @property
    def said(self) -> dict[str, Any]:
        """Every setting that says something, in values that JSON has."""
        found = {key: value for key, value in asdict(self).items() if value not in (None, "")}
        if self.timesteps is not None:
            found["timesteps"] = list(self.timesteps)
        if self.init is None:
            del found["init_strength"]
        return found

    @property
    def judged(self) -> dict[str, Any]:
        """What a vector's profile is compared with: a setting that the solver has not is None."""
        from sampling import find_solver
        from sampling.solvers import ORIGINAL_INFERENCE_STEPS

        solver = find_solver(self.solver)
        original = self.original_inference_steps or ORIGINAL_INFERENCE_STEPS
        return {
            "solver": solver.name,
            "steps": self.steps,
            "guidance": self.guidance,
            "spacing": self.spacing if len(solver.spacings) > 1 else None,
            "eta": self.eta if solver.heeds_eta else None,
            "original_inference_steps": original if solver.heeds_original_steps else None,
            "timesteps": (self.timesteps or ()) if solver.heeds_timesteps else None,
        }

    def settings(self) -> "Settings":
        """The same for `paint`. Raises UnknownSolver, UnsupportedSetting."""
        from sampling import Settings
        from sampling.errors import UnsupportedSetting

        if self.init is None and self.init_strength != INIT_STRENGTH:
            raise UnsupportedSetting(
                f"init strength {self.init_strength:g} was given, but no picture to begin with; give both or neither."
            )
        own = {key: value for key, value in asdict(self).items() if key not in ("init", "init_strength")}
        return Settings(**own, init_strength=None if self.init is None else self.init_strength)


class SamplingWords(TypedDict, total=False):
    """The settings that somebody may say, each on its own; what is None, or not there, is for the recipe to say."""

    solver: str | None
    steps: int | None
    guidance: float | None
    spacing: str | None
    eta: float | None
    width: int | None
    height: int | None
    negative: str | None
    init: str | Path | None
    init_strength: float | None
    original_inference_steps: int | None
    timesteps: tuple[int, ...] | None


USUAL, FINISHED = Sampling(), Sampling(solver="dpm++", steps=25, guidance=7.5)
"""With an acceleration vector that does not say how it was made, and without one."""


def chosen_sampling(
    registry: "Registry", resolved: ResolvedRecipe, sampling: Sampling | None = None, **said: Unpack[SamplingWords]
) -> Sampling:
    """What is said, and for the rest `sampling`, or where that is None what the recipe recommends.

    Another solver than the recommended one takes its steps and guidance over, and nothing else. Raises UnknownSolver
    and UnsupportedSetting.
    """
    words = {key: value for key, value in said.items() if value is not None}
    if "init" in words:
        words["init"] = str(words["init"])
    if sampling is None:
        chosen = changed(recommended_sampling(registry, resolved), words)
    else:
        chosen = replace(sampling, **words)
    chosen.settings()
    return chosen


def changed(recommended: Sampling, words: Mapping[str, Any]) -> Sampling:
    """What is recommended, and some words said otherwise; what does not go with them is left to the solver."""
    solver, rest = words.get("solver", recommended.solver), recommended
    if solver != recommended.solver:
        distilled = solver in ("lcm", "tcd") and recommended == FINISHED
        rest = USUAL if distilled else Sampling(steps=recommended.steps, guidance=recommended.guidance)
    if rest.timesteps is not None and words.get("steps", rest.steps) != rest.steps:
        rest = replace(rest, timesteps=None)
    return replace(rest, **words)


def recommended_sampling(registry: "Registry", resolved: ResolvedRecipe) -> Sampling:
    """What the vectors of a recipe were made for: its acceleration vector, else whichever says so.

    Where none does, 4 steps of LCM with an acceleration vector and 25 steps of DPM-Solver++ without one.
    """
    profile = recommended_profile(resolved)
    if profile is not None:
        return sampling_of(profile)
    return USUAL if is_accelerated(registry, resolved) else FINISHED


def recommended_profile(resolved: ResolvedRecipe) -> "SamplingProfile | None":
    """The profile that counts, of the base and the vectors whose strength is not 0; None where none names a solver."""
    from sampling import SOLVERS

    found = [_said_of(one) for one in resolved.vectors if one.weight]
    if resolved.base is not None:
        found.append(("base", dossier_of(resolved.base).profile))
    found.sort(key=lambda one: PRECEDENCE.index(one[0]))
    return next((profile for _, profile in found if profile.solver in SOLVERS), None)


def sampling_of(profile: "SamplingProfile") -> Sampling:
    """The settings that a profile asks for, as far as its solver has them."""
    from sampling import find_solver

    solver = find_solver(profile.solver or USUAL.solver)
    return Sampling(
        solver=solver.name,
        steps=len(profile.timesteps) if profile.timesteps else _usual_steps(profile.steps),
        guidance=_guidance(profile),
        **_honoured(solver, profile),
    )


def inherited_sampling(resolved: ResolvedRecipe) -> dict[str, Any]:
    """The profile that goes on to what is made of a recipe: of the vector that makes few steps enough."""
    fast = [version for weight, _, version in resolved.vectors if version and weight and version.kind in FAST]
    fast.sort(key=lambda version: FAST.index(version.kind))
    return next((dict(version.sampling) for version in fast if version.sampling), {})


def is_accelerated(registry: "Registry | None", resolved: ResolvedRecipe) -> bool:
    """Whether the base, or a vector whose strength is not 0, was made for few steps."""
    base = resolved.base
    return (base is not None and _is_consistency_base(base)) or any(
        _is_fast(registry, one) for one in resolved.vectors if one.weight
    )


def _said_of(one: WeightedVector) -> "tuple[str, SamplingProfile]":
    """(what it is for, how it wants to be sampled): of a version as registered, of a file as its publisher says."""
    from arithmetic import SamplingProfile

    if one.version is not None:
        dossier = dossier_of(one.version)
        return dossier.role, dossier.profile
    profile = SamplingProfile.from_json(published_profile(*names_of(one.vector.path)) or {}, one.vector.name)
    return "acceleration", profile


def _is_fast(registry: "Registry | None", one: WeightedVector) -> bool:
    """A composition is as fast as what it was composed from."""
    if one.version is None:
        return published_profile(*names_of(one.vector.path)) is not None or vector_kind(one.vector.path) != "style"
    if one.version.kind != "composition" or registry is None:
        return one.version.kind in FAST
    graph = registry.lineage(one.version.ref)
    made_from = ancestors(graph, one.version.ref)
    return any(node.kind == "acceleration" for node in graph.nodes if node.ref in made_from)


def _is_consistency_base(base: "Version") -> bool:
    """Whether its U-Net is told its guidance."""
    variant = ((base.facts or {}).get("variant") or {}).get("value") or ""
    return "lcm" in variant.split("+")


def _usual_steps(allowed: tuple[int, ...] | None) -> int:
    """USUAL_STEPS where they are allowed, else the next more, else as many as there may be."""
    return USUAL_STEPS if not allowed else min((n for n in allowed if n >= USUAL_STEPS), default=max(allowed))


def _guidance(profile: "SamplingProfile") -> float:
    """None (1) where it is borne, else the middle of what is."""
    if (scales := profile.guidance_scales) is None:
        return USUAL.guidance
    low, high = (max(1.0, end) for end in scales)
    return USUAL.guidance if low <= USUAL.guidance else (low + high) / 2


def _honoured(solver: "Solver", profile: "SamplingProfile") -> dict[str, Any]:
    """What the profile says beside solver, steps and guidance, and the solver heeds."""
    said: dict[str, Any] = {"spacing": solver.spacings[0]}
    if profile.spacing in solver.spacings:
        said["spacing"] = profile.spacing
    if solver.heeds_eta:
        said["eta"] = profile.eta or 0.0
    if solver.heeds_original_steps:
        said["original_inference_steps"] = profile.original_inference_steps
    if solver.heeds_timesteps:
        said["timesteps"] = profile.timesteps
    return said

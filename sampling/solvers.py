"""The named solvers: one diffusers scheduler each, with every setting that changes its answer fixed here.

A scheduler built from a base's own config inherits whatever that base's author left there (PNDM's skip_prk_steps,
DDIM's clip_sample, ...), so that "DPM-Solver++ at 8 steps" means something else on each base. Here a base decides only
its noise schedule and what its network predicts; everything else is in SOLVERS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sampling.errors import UnknownSolver, UnsupportedSetting
from sampling.warnings import known_warnings_silenced

if TYPE_CHECKING:
    import torch
    from diffusers.schedulers.scheduling_utils import SchedulerMixin

SPACINGS = ("trailing", "leading", "linspace")
"""Lin et al. 2023 (arXiv 2305.08891), table 2. Trailing starts at the last timestep, where x_T is pure noise."""

MOST_STEPS = 1000
"""As many as there are timesteps."""

ORIGINAL_INFERENCE_STEPS = 50
"""N of the distillation grid 19, 39, ..., 999 on which LCM and TCD paint."""

NOISE_SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
"""What a base decides: its noise schedule, and what its network predicts."""


class FreshNoise(StrEnum):
    """When a solver injects new noise between two steps."""

    NEVER = "never"
    WITH_ETA = "with eta"
    ALWAYS = "always"


@dataclass(frozen=True)
class Solver:
    """A named sampling configuration.

    `settings` are passed to `scheduler`; `spacings` are the timestep spacings it can honour, its default first.
    """

    name: str
    title: str
    scheduler: str
    """Its class in diffusers, which is imported once one is made: a table of settings needs none."""
    settings: Mapping[str, Any] = field(repr=False)
    fresh_noise: FreshNoise = FreshNoise.NEVER
    spacings: tuple[str, ...] = SPACINGS
    most_steps: int = MOST_STEPS
    heeds_timesteps: bool = True
    """Whether it can be given its timesteps one by one."""

    @property
    def heeds_eta(self) -> bool:
        """Whether eta makes a difference to it."""
        return self.fresh_noise is FreshNoise.WITH_ETA

    @property
    def heeds_original_steps(self) -> bool:
        """Whether its timesteps are taken from those of a distillation."""
        return "original_inference_steps" in self.settings

    @property
    def deterministic(self) -> bool:
        """Whether, at eta 0, the picture is a function of x_T alone."""
        return self.fresh_noise is not FreshNoise.ALWAYS

    def injects_noise(self, steps: int, eta: float = 0.0) -> bool:
        """Whether a painting of `steps` steps uses noise beyond x_T, so that it has no one endpoint to compare."""
        if self.fresh_noise is FreshNoise.ALWAYS:
            return steps > 1
        return self.fresh_noise is FreshNoise.WITH_ETA and eta > 0

    def step_arguments(self, eta: float, generators: "Sequence[torch.Generator]") -> dict[str, Any]:
        """What `scheduler.step` takes beside model output, timestep and sample."""
        match self.fresh_noise:
            case FreshNoise.NEVER:
                return {}
            case FreshNoise.ALWAYS:
                return {"generator": list(generators)}
            case FreshNoise.WITH_ETA:
                return {"generator": list(generators), "eta": eta}


_STABLE_DIFFUSION = {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False, "thresholding": False}
_DISTILLED = {**_STABLE_DIFFUSION, "original_inference_steps": ORIGINAL_INFERENCE_STEPS, "timestep_scaling": 10.0}
_MULTISTEP = {"steps_offset": 1, "solver_order": 2, "lower_order_final": True, "thresholding": False}
_DPM = {**_MULTISTEP, "solver_type": "midpoint", "euler_at_final": False}

_ALL = (
    Solver("lcm", "LCM", "LCMScheduler", _DISTILLED, FreshNoise.ALWAYS, ("trailing",), ORIGINAL_INFERENCE_STEPS),
    Solver("tcd", "TCD", "TCDScheduler", _DISTILLED, FreshNoise.WITH_ETA, ("trailing",), ORIGINAL_INFERENCE_STEPS),
    Solver("ddim", "DDIM", "DDIMScheduler", _STABLE_DIFFUSION, FreshNoise.WITH_ETA, heeds_timesteps=False),
    Solver(
        "dpm",
        "DPM-Solver",
        "DPMSolverMultistepScheduler",
        # its last step would be sigma * exp(h) = 0 * inf at sigma 0: it ends at sigma_min, as DDIM does here
        {**_DPM, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"},
    ),
    Solver(
        "dpm++",
        "DPM-Solver++",
        "DPMSolverMultistepScheduler",
        {**_DPM, "algorithm_type": "dpmsolver++", "final_sigmas_type": "zero"},
    ),
    Solver(
        "euler",
        "Euler",
        "EulerDiscreteScheduler",
        {"steps_offset": 1, "final_sigmas_type": "zero", "interpolation_type": "linear", "timestep_type": "discrete"},
    ),
    Solver(
        "unipc",
        "UniPC",
        "UniPCMultistepScheduler",
        {**_MULTISTEP, "solver_type": "bh2", "predict_x0": True, "final_sigmas_type": "zero"},
        heeds_timesteps=False,
    ),
)

SOLVERS: Mapping[str, Solver] = MappingProxyType({solver.name: solver for solver in _ALL})
"""Name -> solver: lcm, tcd, ddim, dpm, dpm++, euler, unipc."""


def find_solver(name: str) -> Solver:
    """The solver called `name`; raises UnknownSolver with the nearest name."""
    if name in SOLVERS:
        return SOLVERS[name]
    near = get_close_matches(name.lower(), SOLVERS, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UnknownSolver(f"{name!r} is no solver; there are {', '.join(SOLVERS)}.{hint}")


def check_settings(
    solver: Solver,
    *,
    steps: int,
    spacing: str,
    eta: float,
    original_inference_steps: int | None = None,
    timesteps: Sequence[int] | None = None,
) -> None:
    """Raise UnsupportedSetting for what `solver` would ignore or cannot honour."""
    most_steps = original_inference_steps or solver.most_steps
    if not 1 <= steps <= most_steps:
        raise UnsupportedSetting(f"{solver.title}: steps must lie in 1 to {most_steps}, got {steps}.")
    if spacing not in solver.spacings:
        accepted = " or ".join(solver.spacings)
        raise UnsupportedSetting(f"{solver.title}: timestep spacing must be {accepted}, got {spacing!r}.")
    if not 0 <= eta <= 1:
        raise UnsupportedSetting(f"{solver.title}: eta must lie in 0 to 1, got {eta}.")
    if eta and not solver.heeds_eta:
        raise UnsupportedSetting(
            f"{solver.title} has no eta (got {eta}); leave it at 0 or take one of {_who('heeds_eta')}."
        )
    if original_inference_steps is not None:
        _check_original_steps(solver, original_inference_steps)
    if timesteps is not None:
        _check_timesteps(solver, steps, timesteps)


def _check_original_steps(solver: Solver, count: int) -> None:
    if not solver.heeds_original_steps:
        raise UnsupportedSetting(
            f"{solver.title} takes its timesteps from no distillation (got original inference steps {count}); "
            f"leave them out or take one of {_who('heeds_original_steps')}."
        )
    if not 1 <= count <= MOST_STEPS:
        raise UnsupportedSetting(
            f"{solver.title}: original inference steps must lie in 1 to {MOST_STEPS}, got {count}."
        )


def _check_timesteps(solver: Solver, steps: int, timesteps: Sequence[int]) -> None:
    listed = ", ".join(map(str, timesteps))
    if not solver.heeds_timesteps:
        raise UnsupportedSetting(
            f"{solver.title} chooses its timesteps itself (got {listed}); take one of {_who('heeds_timesteps')}."
        )
    if len(timesteps) != steps:
        raise UnsupportedSetting(f"{solver.title}: {steps} steps take {steps} timesteps, got {listed}.")
    if min(timesteps) < 0 or any(later >= sooner for sooner, later in pairwise(timesteps)):
        raise UnsupportedSetting(f"{solver.title}: timesteps must fall from noise to picture, got {listed}.")


def _who(heeds: str) -> str:
    """The solvers that heed something."""
    return ", ".join(solver.name for solver in SOLVERS.values() if getattr(solver, heeds))


def make_scheduler(name: str, config: Mapping[str, Any], *, spacing: str = "trailing") -> "SchedulerMixin":
    """A fresh scheduler for the solver `name`, on the noise schedule in `config` (a base's scheduler config).

    Raises UnknownSolver, or UnsupportedSetting for a spacing that the solver cannot honour.
    """
    import diffusers

    solver = find_solver(name)
    check_settings(solver, steps=1, spacing=spacing, eta=0.0)
    schedule = {key: config[key] for key in NOISE_SCHEDULE if config.get(key) is not None}
    with known_warnings_silenced():
        return getattr(diffusers, solver.scheduler)(**schedule, **solver.settings, timestep_spacing=spacing)

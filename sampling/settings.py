"""How to paint, checked once: nothing in it is ignored by the solver."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from sampling.errors import UnsupportedSetting
from sampling.solvers import ORIGINAL_INFERENCE_STEPS, Solver, check_settings, find_solver, make_scheduler
from sampling.warnings import known_warnings_silenced

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_utils import SchedulerMixin
    from torch import Tensor

    from sampling.base import Pipeline


@dataclass(frozen=True)
class Settings:
    """How to paint; None is for the base or the solver to say.

    `init_strength` belongs to a picture that the painting begins with: how much of it is painted over. `timesteps` are
    visited exactly, `original_inference_steps` is the length of the distillation grid that others are taken from.

    Raises UnknownSolver or UnsupportedSetting.
    """

    solver: str
    steps: int
    guidance: float
    spacing: str = "trailing"
    eta: float = 0.0
    width: int | None = None
    height: int | None = None
    negative: str = ""
    init_strength: float | None = None
    original_inference_steps: int | None = None
    timesteps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_settings(
            self._solver,
            steps=self.steps,
            spacing=self.spacing,
            eta=self.eta,
            original_inference_steps=self.original_inference_steps,
            timesteps=self.timesteps,
        )
        if not 1 <= self.guidance < inf:
            raise UnsupportedSetting(f"guidance must be at least 1 (which means none) and finite, got {self.guidance}.")
        if self.negative and self.guidance == 1:
            raise UnsupportedSetting(
                f"a negative prompt ({self.negative!r}) works through guidance, and guidance 1 is none; "
                "raise the guidance, which costs twice, or leave the negative prompt out."
            )
        for side in ("width", "height"):
            if (pixels := getattr(self, side)) is not None and pixels < 1:
                raise UnsupportedSetting(f"{side} must be at least 1 pixel, got {pixels}.")
        if self.init_strength is not None:
            self._refuse_strength(self.init_strength)

    @property
    def steps_taken(self) -> int:
        """Denoising steps of one picture.

        A picture to begin with skips the first ones: `init_strength` of all are left (as diffusers counts them). A
        distilled solver takes all its steps, on the lower part of its grid.
        """
        if self.init_strength is None or self._shortens_grid:
            return self.steps
        return min(int(self.steps * self.init_strength), self.steps)

    @property
    def evaluations(self) -> int:
        """U-Net evaluations of one picture: the conditional one a step, and the unconditional one if guided.

        A U-Net that is told its guidance needs no unconditional one: `Painting.evaluations` has what was spent.
        """
        return self.steps_taken * (2 if self.guidance > 1 else 1)

    def scheduler(self, pipe: "Pipeline") -> "SchedulerMixin":
        """A fresh scheduler for one batch, its timesteps set."""
        scheduler = make_scheduler(self.solver, pipe.scheduler.config, spacing=self.spacing)
        with known_warnings_silenced():
            self._set_timesteps(scheduler, pipe)
        if scheduler.timesteps.unique().numel() != self.steps:
            raise UnsupportedSetting(
                f"{self.solver}: {self.spacing} spacing does not give {self.steps} different timesteps; take fewer."
            )
        if self.init_strength is not None and hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(self.steps - self.steps_taken)
        return scheduler

    def visited(self, scheduler: "SchedulerMixin") -> "Tensor":
        """The timesteps of `scheduler` at which the U-Net is asked."""
        timesteps: Tensor = scheduler.timesteps[self.steps - self.steps_taken :]
        return timesteps

    def size(self, pipe: "Pipeline") -> tuple[int, int]:
        """(height, width) in pixels. Raises UnsupportedSetting for what latents cannot hold."""
        from sampling.base import picture_size

        own = picture_size(pipe)
        size = self.height or own[0], self.width or own[1]
        factor = pipe.vae_scale_factor
        if any(pixels % factor for pixels in size):
            fitting = " x ".join(str(max(1, round(pixels / factor)) * factor) for pixels in reversed(size))
            raise UnsupportedSetting(
                f"size {size[1]} x {size[0]}: width and height must be multiples of {factor}; take {fitting}."
            )
        return size

    @property
    def _solver(self) -> Solver:
        return find_solver(self.solver)

    @property
    def _shortens_grid(self) -> bool:
        """Whether `init_strength` shortens the grid that the timesteps are taken from, not their list."""
        return self._solver.heeds_original_steps and self.timesteps is None

    def _set_timesteps(self, scheduler: "SchedulerMixin", pipe: "Pipeline") -> None:
        from sampling.placement import device_of

        arguments = {}
        if self.original_inference_steps is not None:
            arguments["original_inference_steps"] = self.original_inference_steps
        if self.init_strength is not None and self._shortens_grid:
            arguments["strength"] = self.init_strength
        if self.timesteps is None:
            scheduler.set_timesteps(self.steps, device=device_of(pipe), **arguments)
        elif self.timesteps[0] >= (trained := pipe.scheduler.config.num_train_timesteps):
            raise UnsupportedSetting(f"timesteps must lie below the base's {trained}, got {self.timesteps[0]}.")
        else:
            scheduler.set_timesteps(timesteps=list(self.timesteps), device=device_of(pipe), **arguments)

    def _refuse_strength(self, strength: float) -> None:
        if not 0 < strength <= 1:
            raise UnsupportedSetting(
                f"init strength must lie above 0 (nothing is painted) and up to 1 (everything is), got {strength}."
            )
        most = int((self.original_inference_steps or ORIGINAL_INFERENCE_STEPS) * strength)
        if self._shortens_grid and self.steps > most:
            raise UnsupportedSetting(
                f"{self._solver.title}: init strength {strength:g} leaves {most} timesteps, got {self.steps} steps; "
                "take fewer steps, or a higher init strength."
            )
        if self.steps_taken < 1:
            raise UnsupportedSetting(
                f"init strength {strength:g} of {self.steps} steps is less than one step; take more of either."
            )

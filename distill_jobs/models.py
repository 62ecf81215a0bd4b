"""Networks as consistency functions, and the guided teacher: what the kinds of consistency training share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distill_jobs import consistency
from distill_jobs.bases.conditioning import Condition
from distill_jobs.consistency import ConsistencyLoss, Denoiser, Distance, Point, Schedule
from distill_jobs.material.material import Material
from distill_jobs.training.settings import ConsistencySettings
from distill_jobs.training.step import Step
from sampling.guidance import guidance_embedding

Output = Callable[[Tensor, Tensor, Condition], Tensor]
"""(z, timesteps, condition) to what a network predicts."""


class ConsistencyModel:
    """f(z, t) of a U-Net whose trained parameters are its own or, for the target, others in their place.

    `parameters` names the trained ones, by whatever names, and are the U-Net's own.
    """

    def __init__(self, unet: nn.Module, parameters: Mapping[str, nn.Parameter], schedule: Schedule) -> None:
        self.unet, self.schedule = unet, schedule
        within = {id(value): name for name, value in unet.named_parameters()}
        self._places = {name: within[id(value)] for name, value in parameters.items()}

    def told(
        self, condition: Condition, w: Tensor | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Denoiser:
        """f(z, t) told `condition` and, where the U-Net embeds it, w (B,); with `weights` for the trained ones."""
        arguments = {**condition.arguments(), "return_dict": False}
        if w is not None:
            arguments["timestep_cond"] = guidance_embedding(w, self.unet.config.time_cond_proj_dim)
        replaced = {} if weights is None else {self._places[name]: value for name, value in weights.items()}

        def denoise(z: Tensor, timesteps: Tensor) -> Tensor:
            output: Tensor = functional_call(self.unet, replaced, (z, timesteps), arguments)[0]
            return consistency.consistency_function(output, z, timesteps, self.schedule)

        return denoise


@dataclass(frozen=True)
class Batch:
    """The pictures of a step: clean latents and noise (B, C, H, W), what is told of them, and where the step stands.

    `generator` goes on with the step's random numbers.
    """

    x0: Tensor
    eps: Tensor
    condition: Condition
    point: Point
    generator: torch.Generator


def drawn(step: Step, material: Material, loss: ConsistencyLoss) -> Batch:
    """The batch of `step`: its pictures, then their places on the grid, then their noise."""
    chosen, generator = step.choice(len(material.rows)), step.generator()
    x0, index = material.latents[chosen], loss.drawn(step.batch, generator)
    eps = torch.randn(x0.shape, generator=generator)
    return Batch(x0, eps, material.condition(chosen), loss.point(x0, eps, index), generator)


def guided_end(
    network: Output, point: Point, condition: Condition, nothing: Condition, w: float | Tensor, schedule: Schedule
) -> Tensor:
    """z at `end` by one guided step of `network`: told `condition` and `nothing` in one batch of 2 B."""
    output = network(point.z.repeat(2, 1, 1, 1), point.start.repeat(2), condition.followed_by(nothing))
    conditional, unconditional = output.chunk(2)
    return consistency.augmented_step(conditional, unconditional, point.z, point.start, point.end, w, schedule)


def consistency_loss(schedule: Schedule, settings: ConsistencySettings) -> ConsistencyLoss:
    """The loss that the settings name, on the grid that they name."""
    grid = consistency.solver_grid(settings.num_ddim_timesteps, len(schedule.alpha))
    return ConsistencyLoss(schedule, grid, distance(settings), noise_weighting=settings.noise_weighting)


def distance(settings: ConsistencySettings) -> Distance:
    """The distance that the settings name: squared or pseudo-Huber."""
    if settings.loss == "l2":
        return consistency.squared_distance
    return partial(consistency.pseudo_huber_distance, c=settings.huber_c)


def drawn_guidance(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    """(count,) w, uniform in low to high."""
    return low + (high - low) * torch.rand(count, generator=generator)

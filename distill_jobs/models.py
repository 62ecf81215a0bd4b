"""Networks as consistency functions, and the guided teacher: what the kinds of consistency training share."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distill_jobs import consistency
from distill_jobs.bases.conditioning import Condition
from distill_jobs.consistency import ConsistencyLoss, Denoiser, Distance, Point, Schedule
from distill_jobs.data.dropout import with_dropout
from distill_jobs.material.material import Material
from distill_jobs.training.compilation import TOLERANCES, require_parity
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.forward import Forward
from distill_jobs.training.settings import ConsistencySettings
from distill_jobs.training.step import Step
from sampling.guidance import guidance_embedding

Output = Callable[[Tensor, Tensor, Condition], Tensor]
"""(z, timesteps, condition) to what a network predicts."""

Role = Callable[[], AbstractContextManager[object]]
"""Enters a role of a network: without a gradient, say."""


class ConsistencyModel:
    """f(z, t) of a U-Net whose trained parameters are its own or, for the target, others in their place.

    `parameters` names the trained ones, by whatever names, and are the U-Net's own; `compute` says how it computes.
    """

    def __init__(
        self, unet: Any, parameters: Mapping[str, nn.Parameter], schedule: Schedule, compute: ComputeSettings
    ) -> None:
        self.unet, self.parameters, self.schedule = unet, parameters, schedule
        self.network = Forward(unet, compute)
        within = {id(value): name for name, value in unet.named_parameters()}
        self._places = {name: within[id(value)] for name, value in parameters.items()}

    def told(
        self, condition: Condition, w: Tensor | None = None, weights: Mapping[str, Tensor] | None = None
    ) -> Denoiser:
        """f(z, t) told `condition` and, where the U-Net embeds it, w (B,); with `weights` for the trained ones."""
        guidance = None if w is None else guidance_embedding(w, self.unet.config.time_cond_proj_dim)
        is_itself = weights is None or weights is self.parameters
        replaced = None if is_itself else {self._places[name]: value for name, value in weights.items()}

        def denoise(z: Tensor, timesteps: Tensor) -> Tensor:
            output = self.network(z, timesteps, condition, replaced, guidance)
            return consistency.consistency_function(output, z, timesteps, self.schedule)

        return denoise

    def require_parity(self, material: Material, w: float | None = None) -> None:
        """Compare the compiled U-Net with its uncompiled self, with and without a gradient. Raises CompileMismatch."""
        guidance = None if w is None else guidance_embedding(torch.tensor([w]), self.unet.config.time_cond_proj_dim)
        roles: dict[str, Role] = {"target": torch.no_grad, "student": nullcontext}
        require_parity_of(self.network, material, roles, self.parameters, guidance)


def require_parity_of(
    network: Forward,
    material: Material,
    roles: Mapping[str, Role],
    parameters: Mapping[str, nn.Parameter] | None = None,
    guidance: Tensor | None = None,
) -> None:
    """Compare a compiled network with its uncompiled self on one picture, in each role. Raises CompileMismatch."""
    if network.settings.compile == "off":
        return
    z, condition, timesteps = material.latents[:1], material.condition(torch.arange(1)), torch.tensor([500])
    require_parity(
        lambda: network.uncompiled()(z, timesteps, condition, guidance=guidance),
        lambda: network(z, timesteps, condition, guidance=guidance),
        roles,
        parameters or {},
        tolerance=TOLERANCES[network.settings.dtype],
    )


@dataclass(frozen=True)
class Batch:
    """The pictures of a step's part: clean latents and noise (B, C, H, W), what is told of them, where the step stands.

    `generator` goes on with the step's random numbers.
    """

    x0: Tensor
    eps: Tensor
    condition: Condition
    point: Point
    generator: torch.Generator


def drawn(step: Step, material: Material, loss: ConsistencyLoss, dropout: float, purpose: int = 0) -> Batch:
    """This part of the batch of `step`: its pictures, then their places on the grid, then their noise.

    A share `dropout` of the captions is left empty; `purpose` names the stream of random numbers.
    """
    chosen, generator, share = step.choice(len(material.rows)), step.generator(purpose), step.share
    rows = with_dropout(material.rows[chosen], step, dropout)
    index = loss.drawn(step.batch, generator)
    x0 = material.latents[chosen[share]]
    eps = torch.randn((step.batch, *x0.shape[1:]), generator=generator)[share]
    return Batch(x0, eps, material.told(rows[share], chosen[share]), loss.point(x0, eps, index[share]), generator)


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


def drawn_guidance(low: float, high: float, step: Step, generator: torch.Generator) -> Tensor:
    """(B,) w of this part of the batch, uniform in low to high."""
    return low + (high - low) * torch.rand(step.batch, generator=generator)[step.share]

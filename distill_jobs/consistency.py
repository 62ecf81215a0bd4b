"""The mathematics of latent consistency distillation (Luo et al. 2023, arXiv 2310.04378 and 2311.05556).

Letters as in the paper: z a noisy latent, t a timestep, alpha(t) = sqrt(abar(t)) and sigma(t) = sqrt(1 - abar(t)),
w the guidance of the LCM form (c + w (c - u); Imagen's scale is w + 1). Everything is computed in the dtype it is
given; callers give float32 or better, since at t = 999 the conversion from noise divides by alpha = 0.07.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

TIMESTEP_SCALING = 10.0
SIGMA_DATA = 0.5


class Prediction(StrEnum):
    """What a network's output is."""

    epsilon = "epsilon"
    v = "v_prediction"
    sample = "sample"


@dataclass(frozen=True)
class Schedule:
    """alpha and sigma of every training timestep, (T,) float64 each, and what the network predicts."""

    alpha: Tensor
    sigma: Tensor
    prediction: Prediction

    def at(self, timesteps: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        """alpha(t) and sigma(t), each (B, 1, 1, 1) in `dtype`, for timesteps (B,)."""
        shape = (-1, 1, 1, 1)
        return self.alpha[timesteps].to(dtype).view(shape), self.sigma[timesteps].to(dtype).view(shape)


def schedule_of(scheduler: Any) -> Schedule:
    """The schedule of a diffusers scheduler that has `alphas_cumprod` and a `prediction_type`."""
    cumulative = scheduler.alphas_cumprod.double()
    return Schedule(cumulative.sqrt(), (1 - cumulative).sqrt(), Prediction(scheduler.config.prediction_type))


@dataclass(frozen=True)
class Grid:
    """The timesteps that a distillation visits: step n leads from `start[n]` to `end[n]`, both (N,) int64."""

    start: Tensor
    end: Tensor


def solver_grid(count: int, timesteps: int = 1000) -> Grid:
    """The grid of `count` solver steps: k = timesteps // count, start = k - 1, 2k - 1, ..., end = max(start - k, 0).

    For 50 of 1,000: 19, 39, ..., 999 (train_lcm_distill_lora_sd_wds.py, DDIMSolver). Raises ValueError unless
    1 <= count <= timesteps.
    """
    if not 1 <= count <= timesteps:
        raise ValueError(f"num_ddim_timesteps: got {count}, expected 1 to {timesteps}")
    skip = timesteps // count
    start = torch.arange(1, count + 1) * skip - 1
    return Grid(start, (start - skip).clamp(min=0))


def denoised(output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The clean latent x0 that `output` (B, C, H, W) means at z: (z - sigma F) / alpha, F, or alpha z - sigma F."""
    if prediction is Prediction.epsilon:
        return (z - sigma * output) / alpha
    if prediction is Prediction.sample:
        return output
    return alpha * z - sigma * output


def noise(output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """The noise eps that `output` (B, C, H, W) means at z: F, (z - alpha F) / sigma, or alpha F + sigma z."""
    if prediction is Prediction.epsilon:
        return output
    if prediction is Prediction.sample:
        return (z - alpha * output) / sigma
    return alpha * output + sigma * z


def output_for(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor, prediction: Prediction) -> Tensor:
    """What a perfect network answers at z = alpha x0 + sigma eps: eps, x0, or v = alpha eps - sigma x0."""
    if prediction is Prediction.epsilon:
        return eps
    if prediction is Prediction.sample:
        return x0
    return alpha * eps - sigma * x0


def diffuse(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """z = alpha x0 + sigma eps: the forward process, and (with predicted x0 and eps) the DDIM step Psi."""
    return alpha * x0 + sigma * eps


def guided(conditional: Tensor, unconditional: Tensor, w: float | Tensor) -> Tensor:
    """c + w (c - u): guidance in the LCM form, one w or (B, 1, 1, 1), applied after the conversion to x0 or eps."""
    return conditional + w * (conditional - unconditional)


def augmented_step(
    conditional: Tensor,
    unconditional: Tensor,
    z: Tensor,
    start: Tensor,
    end: Tensor,
    w: float | Tensor,
    schedule: Schedule,
) -> Tensor:
    """The augmented PF-ODE step of Algorithm 1: z_start (B, C, H, W) to z_end by one guided DDIM step.

    `conditional` and `unconditional` are the teacher's outputs at (z, start); start and end are (B,) timesteps.
    """
    alpha, sigma = schedule.at(start, z.dtype)
    known = (z, alpha, sigma, schedule.prediction)
    x0 = guided(denoised(conditional, *known), denoised(unconditional, *known), w)
    eps = guided(noise(conditional, *known), noise(unconditional, *known), w)
    return diffuse(x0, eps, *schedule.at(end, z.dtype))


def boundary(timesteps: Tensor, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """c_skip and c_out, (B, 1, 1, 1) each: s = 10 t, c_skip = 0.25 / (s^2 + 0.25), c_out = s / sqrt(s^2 + 0.25).

    c_skip(0) = 1 and c_out(0) = 0, so f(z, 0) = z whatever the network says.
    """
    scaled = (timesteps.double() * TIMESTEP_SCALING).view(-1, 1, 1, 1)
    total = scaled**2 + SIGMA_DATA**2
    return (SIGMA_DATA**2 / total).to(dtype), (scaled / total.sqrt()).to(dtype)


def consistency_function(output: Tensor, z: Tensor, timesteps: Tensor, schedule: Schedule) -> Tensor:
    """f(z, t) = c_skip(t) z + c_out(t) x0, where x0 is what the network's `output` means at (z, t)."""
    skip, out = boundary(timesteps, z.dtype)
    return skip * z + out * denoised(output, z, *schedule.at(timesteps, z.dtype), schedule.prediction)


def squared_distance(student: Tensor, target: Tensor) -> Tensor:
    """(B,) means of (student - target)^2 over all but the batch dimension."""
    return (student - target).square().flatten(1).mean(1)


def pseudo_huber_distance(student: Tensor, target: Tensor, c: float) -> Tensor:
    """(B,) means of sqrt((student - target)^2 + c^2) - c over all but the batch dimension."""
    return (((student - target).square() + c**2).sqrt() - c).flatten(1).mean(1)


@dataclass(frozen=True)
class Point:
    """Where a step of a distillation stands: z (B, C, H, W) at timestep `start`, bound for `end`, both (B,) int64.

    `index` (B,) is the place on the solver grid.
    """

    z: Tensor
    start: Tensor
    end: Tensor
    index: Tensor


Denoiser = Callable[[Tensor, Tensor], Tensor]
"""f(z, t): the clean latent (B, C, H, W) that a consistency model sees behind z at timesteps t (B,)."""

Distance = Callable[[Tensor, Tensor], Tensor]
"""(B,) distances between student and target, (B, C, H, W) each."""


class ConsistencyLoss:
    """d(f(z_{n+k}, t_{n+k}), f^-(z_n, t_n)): the loss that LCD and LCF share; they differ in where z_n comes from.

    A timestep's loss is weighted by sigma(t) ** noise_weighting, scaled to a mean of 1 over the grid.
    """

    def __init__(self, schedule: Schedule, grid: Grid, distance: Distance, *, noise_weighting: float = 0.0) -> None:
        self.schedule, self.grid, self.distance = schedule, grid, distance
        sigma = schedule.sigma[grid.start] ** noise_weighting
        self.weights = (sigma / sigma.mean()).float()

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) int64: uniform places on the grid."""
        return torch.randint(len(self.grid.start), (count,), generator=generator)

    def point(self, x0: Tensor, eps: Tensor, index: Tensor) -> Point:
        """The clean latents with noise `eps`, both (B, C, H, W), at the grid's places `index`."""
        start = self.grid.start[index]
        return Point(diffuse(x0, eps, *self.schedule.at(start)), start, self.grid.end[index], index)

    def __call__(self, point: Point, z_end: Tensor, student: Denoiser, target: Denoiser) -> Tensor:
        """The weighted mean distance, a scalar; no gradient flows into `target` or z_end (B, C, H, W)."""
        with torch.no_grad():
            aim = target(z_end, point.end)
        return (self.distance(student(point.z, point.start), aim) * self.weights[point.index]).mean()

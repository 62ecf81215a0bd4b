"""What a network predicts, read off its answers rather than off its scheduler's configuration."""

from collections.abc import Callable

import torch
from torch import Tensor

from distill_jobs import consistency
from distill_jobs.consistency import Prediction, Schedule

CLEAR = 0.8
"""Correlation above which an answer speaks for a prediction type."""
MARGIN = 0.2
"""By how much the best has to beat the next."""


def answered_prediction(
    output: Callable[[Tensor, Tensor], Tensor], x0: Tensor, eps: Tensor, schedule: Schedule
) -> Prediction | None:
    """What a network's answers at half noise correlate with: eps, v or x0; None where nothing stands out.

    `output` (z, t) is the network, x0 real latents (B, C, H, W) and eps noise of that shape. At the timestep where
    alpha = sigma, eps, v = alpha eps - sigma x0 and x0 are as different as they get: v correlates with the others by
    0.71 at most.
    """
    place = int((schedule.alpha - schedule.sigma).abs().argmin())
    timesteps = torch.full((len(x0),), place, device=x0.device)
    alpha, sigma = schedule.at(timesteps, x0.dtype)
    said = output(consistency.diffuse(x0, eps, alpha, sigma), timesteps)
    found = {kind: correlation(said, consistency.output_for(x0, eps, alpha, sigma, kind)) for kind in Prediction}
    best, second = sorted(found, key=lambda kind: -found[kind])[:2]
    clear = found[best] >= CLEAR and found[best] - found[second] >= MARGIN
    return best if clear else None


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation over all elements, -1 to 1, in float64; 0 where one of them is constant."""
    x, y = (t.double().flatten() - t.double().mean() for t in (a, b))
    norms = x.norm() * y.norm()
    return float(x @ y / norms) if norms > 0 else 0.0

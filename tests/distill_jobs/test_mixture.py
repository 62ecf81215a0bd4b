"""Distillation of a teacher that is known exactly: a mixture of Gaussians in the plane, through the shipped loss."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from demo.training.networks import scheduler
from distill_jobs import consistency
from distill_jobs.consistency import ConsistencyLoss, Prediction, Schedule, schedule_of, solver_grid

CENTRES = torch.tensor([[1.5, 0.0], [-0.75, 1.3], [-0.75, -1.3]])
SPREAD = 0.25
STEPS, BATCH, GRID = 1500, 512, 8


def best_noise(z: Tensor, timesteps: Tensor, schedule: Schedule) -> Tensor:
    """E[eps | z] of the mixture, (B, 2, 1, 1): each Gaussian's, weighted by how likely z came from it."""
    alpha, sigma = (v.flatten()[:, None, None] for v in schedule.at(timesteps, z.dtype))
    point = z.flatten(1)[:, None]
    variance = alpha**2 * SPREAD**2 + sigma**2
    offset = point - alpha * CENTRES.to(z.dtype)
    likely = torch.softmax(-offset.square().sum(-1, keepdim=True) / (2 * variance), dim=1)
    return (likely * sigma * offset / variance).sum(1)[..., None, None]


def teacher_step(z: Tensor, start: Tensor, end: Tensor, schedule: Schedule) -> Tensor:
    noise = best_noise(z, start, schedule)
    return consistency.augmented_step(noise, noise, z, start, end, 0.0, schedule)


def known_consistency_function(z: Tensor, place: int, schedule: Schedule) -> Tensor:
    """Where the solver's grid leads from its place: what an endless distillation converges to."""
    grid = solver_grid(GRID)
    for n in reversed(range(place + 1)):
        start, end = grid.start[n].expand(len(z)), grid.end[n].expand(len(z))
        z = teacher_step(z, start, end, schedule)
    return z


class Planar(nn.Module):
    """A small network of (z, t) that answers with the clean point."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(18, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(),
            nn.Linear(128, 2),
        )  # fmt: skip

    def forward(self, z: Tensor, timesteps: Tensor) -> Tensor:
        angles = timesteps[:, None] / 1000 * 2.0 ** torch.arange(8) * math.pi
        told = torch.cat([z.flatten(1), angles.sin(), angles.cos()], dim=1)
        return self.layers(told)[..., None, None]


def test_distillation_on_a_mixture_converges_to_the_known_consistency_function() -> None:
    schedule = schedule_of(scheduler())
    own = replace(schedule, prediction=Prediction.sample)
    loss = ConsistencyLoss(own, solver_grid(GRID), consistency.squared_distance)
    torch.manual_seed(0)
    network, generator = Planar(), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)

    def f(z: Tensor, t: Tensor) -> Tensor:
        return consistency.consistency_function(network(z, t), z, t, own)

    def error() -> float:
        """MSE of one step from pure noise over the endpoint's variance."""
        z = torch.randn(4096, 2, 1, 1, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            got = f(z, torch.full((4096,), 999))
        truth = known_consistency_function(z, GRID - 1, schedule)
        return ((got - truth).square().mean() / truth.var()).item()

    before = error()
    for _ in range(STEPS):
        chosen = torch.randint(3, (BATCH,), generator=generator)
        x0 = CENTRES[chosen] + SPREAD * torch.randn(BATCH, 2, generator=generator)
        eps = torch.randn(BATCH, 2, 1, 1, generator=generator)
        point = loss.point(x0[..., None, None], eps, loss.drawn(BATCH, generator))
        value = loss(point, teacher_step(point.z, point.start, point.end, schedule), f, f)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()
        rates.step()
    assert before > 0.5
    assert error() < 0.01

"""The loss: equal to the published scripts' with its gradients, zero at the true consistency function, and enough to
find that function by optimisation where it is known."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from distill_jobs import consistency
from distill_jobs.consistency import ConsistencyLoss, Distance, Point, Prediction, Schedule, solver_grid

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ABAR = torch.cumprod(1 - BETAS, 0)
MEAN, SPREAD = 0.7, 0.4
W = 7.5


def schedule_for(prediction: Prediction) -> Schedule:
    return Schedule(ABAR.sqrt(), (1 - ABAR).sqrt(), prediction)


@pytest.fixture(params=list(Prediction))
def schedule(request: pytest.FixtureRequest) -> Schedule:
    return schedule_for(request.param)


class Affine(nn.Module):
    """A network with a weight a channel and a bias that depends on the timestep: the same bits in every batch."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(1, 4, 1, 1, generator=generator))
        self.bias = nn.Parameter(torch.randn(1, 4, 1, 1, generator=generator))

    def forward(self, z: Tensor, timesteps: Tensor) -> Tensor:
        return self.weight * z + self.bias * torch.sin(timesteps.view(-1, 1, 1, 1) / 100)


def published_loss(
    student: Affine,
    teachers: tuple[Affine, Affine],
    latents: Tensor,
    noise: Tensor,
    index: Tensor,
    *,
    kind: str,
    is_huber: bool,
) -> Tensor:
    """train_lcm_distill_lora_sd_wds.py in float32 from its formulas: DDIMSolver, boundary scalings, CFG, loss."""
    alphas, sigmas = ABAR.sqrt().float(), (1 - ABAR).sqrt().float()
    ddim_timesteps = torch.arange(1, 51) * 20 - 1
    prev = torch.cat([ABAR[:1], ABAR[ddim_timesteps[:-1]]])[index]
    start = ddim_timesteps[index]
    end = torch.where(start - 20 < 0, torch.zeros_like(start), start - 20)

    def column(values: Tensor) -> Tensor:
        return values.view(-1, 1, 1, 1)

    def x0(out: Tensor, t: Tensor, z: Tensor) -> Tensor:
        a, s = column(alphas[t]), column(sigmas[t])
        return {"epsilon": (z - s * out) / a, "sample": out, "v_prediction": a * z - s * out}[kind]

    def eps(out: Tensor, t: Tensor, z: Tensor) -> Tensor:
        a, s = column(alphas[t]), column(sigmas[t])
        return {"epsilon": out, "sample": (z - a * out) / s, "v_prediction": a * out + s * z}[kind]

    def f(z: Tensor, t: Tensor) -> Tensor:
        scaled = column(t) * 10.0
        skip, out = 0.5**2 / (scaled**2 + 0.5**2), scaled / (scaled**2 + 0.5**2) ** 0.5
        return skip * z + out * x0(student(z, t), t, z)

    noisy = column(alphas[start]) * latents + column(sigmas[start]) * noise
    model_pred = f(noisy, start)
    with torch.no_grad():
        c, u = (teacher(noisy, start) for teacher in teachers)
        pred_x0 = x0(c, start, noisy) + W * (x0(c, start, noisy) - x0(u, start, noisy))
        pred_noise = eps(c, start, noisy) + W * (eps(c, start, noisy) - eps(u, start, noisy))
        # 1 - 0.99915 in float32 would keep four digits: the tables are rounded once, at the end
        target = f(column(prev.sqrt().float()) * pred_x0 + column((1.0 - prev).sqrt().float()) * pred_noise, end)
    if is_huber:
        return torch.mean(torch.sqrt((model_pred - target) ** 2 + 0.001**2) - 0.001)
    return torch.nn.functional.mse_loss(model_pred, target, reduction="mean")


def denoiser(network: nn.Module, schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z, t: consistency.consistency_function(network(z, t), z, t, schedule)


def huber(a: Tensor, b: Tensor) -> Tensor:
    return consistency.pseudo_huber_distance(a, b, 0.001)


@pytest.mark.parametrize("distance", [consistency.squared_distance, huber], ids=["l2", "huber"])
def test_loss_and_gradients_equal_those_of_the_published_scripts_in_float32(
    schedule: Schedule, distance: Distance
) -> None:
    generator = torch.Generator().manual_seed(3)
    latents, noise = (torch.randn(16, 4, 8, 8, generator=generator) for _ in range(2))
    index = torch.cat([torch.tensor([0, 49]), torch.randint(50, (14,), generator=generator)])
    student, teachers = Affine(0), (Affine(1), Affine(2))
    loss = ConsistencyLoss(schedule, solver_grid(50), distance)
    point = loss.point(latents, noise, index)
    outputs = [teacher(point.z, point.start).detach() for teacher in teachers]
    z_end = consistency.augmented_step(*outputs, point.z, point.start, point.end, W, schedule)
    f = denoiser(student, schedule)
    ours = loss(point, z_end, f, f)
    theirs = published_loss(
        student, teachers, latents, noise, index, kind=schedule.prediction, is_huber=distance is huber
    )
    assert ours.dtype == theirs.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)
    parameters = list(student.parameters())
    for mine, other in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(theirs, parameters), strict=True):
        assert (mine - other).norm() <= 1e-6 * other.norm()


def test_no_gradient_reaches_the_target_or_the_teachers_step(schedule: Schedule) -> None:
    student, target = Affine(0), Affine(1)
    loss = ConsistencyLoss(schedule, solver_grid(50), consistency.squared_distance)
    x0, eps = torch.randn(2, 3, 4, 2, 2, generator=torch.Generator().manual_seed(0)).unbind()
    point = loss.point(x0, eps, torch.tensor([1, 20, 49]))
    loss(point, point.z, denoiser(student, schedule), denoiser(target, schedule)).backward()
    assert student.weight.grad is not None
    assert target.weight.grad is None


@pytest.mark.parametrize("weighting", [0.5, 2.0])
def test_noise_weighting_weighs_timesteps_by_their_noise_with_mean_one(weighting: float) -> None:
    schedule, grid = schedule_for(Prediction.epsilon), solver_grid(10)
    loss = ConsistencyLoss(schedule, grid, consistency.squared_distance, noise_weighting=weighting)
    expected = (1 - ABAR[grid.start]).sqrt() ** weighting
    torch.testing.assert_close(loss.weights.double(), expected / expected.mean(), rtol=1e-6, atol=0)
    assert loss.weights.mean().item() == pytest.approx(1)


# A Gaussian N(MEAN, SPREAD^2): its PF-ODE keeps (z - alpha MEAN) / sqrt(alpha^2 SPREAD^2 + sigma^2) constant, so its
# consistency function is known at every timestep, and the function that ends at timestep 0 with it.


def gaussian_flow(z: Tensor, start: Tensor, end: Tensor, schedule: Schedule) -> Tensor:
    """z at `end` of the trajectory that passes through z at `start`."""
    (a, s), (b, r) = schedule.at(start, z.dtype), schedule.at(end, z.dtype)
    constant = (z - a * MEAN) / (a**2 * SPREAD**2 + s**2).sqrt()
    return b * MEAN + (b**2 * SPREAD**2 + r**2).sqrt() * constant


def gaussian_consistency(schedule: Schedule) -> Callable[[Tensor, Tensor], Tensor]:
    def f(z: Tensor, t: Tensor) -> Tensor:
        return gaussian_flow(z, t, torch.zeros_like(t), schedule)

    return f


def gaussian_point(loss: ConsistencyLoss) -> Point:
    x0, eps = torch.randn(2, 50, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).unbind()
    return loss.point(MEAN + SPREAD * x0, eps, torch.arange(50))


@pytest.mark.parametrize("distance", [consistency.squared_distance, huber], ids=["l2", "huber"])
def test_the_true_consistency_function_has_no_loss_and_no_gradient_along_the_true_flow(
    schedule: Schedule, distance: Distance
) -> None:
    loss = ConsistencyLoss(schedule, solver_grid(50), distance)
    point, f = gaussian_point(loss), gaussian_consistency(schedule)
    shift = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = loss(point, gaussian_flow(point.z, point.start, point.end, schedule), lambda z, t: f(z, t) + shift, f)
    value.backward()
    assert value.item() < 1e-12
    assert shift.grad is not None
    assert shift.grad.abs().item() < 1e-6


def test_the_ddim_steps_loss_at_the_true_function_falls_with_the_square_of_the_local_error() -> None:
    """Psi has a local error of order h^2, so the squared loss falls as h^4: 16 times for a grid twice as fine."""
    schedule, losses = schedule_for(Prediction.epsilon), []
    for count in (50, 100, 200):
        loss = ConsistencyLoss(schedule, solver_grid(count), consistency.squared_distance)
        generator = torch.Generator().manual_seed(0)
        x0, eps = torch.randn(2, 64, 4, 4, 4, dtype=torch.float64, generator=generator).unbind()
        index = torch.full((64,), count // 2 - 1)
        point = loss.point(MEAN + SPREAD * x0, eps, index)
        alpha, sigma = schedule.at(point.start, torch.float64)
        best = sigma * (point.z - alpha * MEAN) / (alpha**2 * SPREAD**2 + sigma**2)
        z_end = consistency.augmented_step(best, best, point.z, point.start, point.end, W, schedule)
        f = gaussian_consistency(schedule)
        losses.append(loss(point, z_end, f, f).item())
    for coarse, fine in itertools.pairwise(losses):
        assert 12 < coarse / fine < 20

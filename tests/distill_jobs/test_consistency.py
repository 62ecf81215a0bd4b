"""The mathematics against independently written formulas, and against Gaussian data whose flow is known."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from distill_jobs import consistency
from distill_jobs.consistency import Prediction, Schedule, solver_grid

BETAS = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
ABAR = np.cumprod(1 - BETAS)


@pytest.fixture(params=list(Prediction))
def schedule(request: pytest.FixtureRequest) -> Schedule:
    abar = torch.from_numpy(ABAR)
    return Schedule(abar.sqrt(), (1 - abar).sqrt(), request.param)


def test_the_schedule_of_a_scheduler_is_its_cumulative_alphas() -> None:
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    schedule = consistency.schedule_of(scheduler)
    np.testing.assert_allclose(schedule.alpha.numpy() ** 2, ABAR, rtol=2e-5)
    np.testing.assert_allclose(schedule.alpha.numpy() ** 2 + schedule.sigma.numpy() ** 2, 1, rtol=1e-12)


def test_the_grid_of_fifty_is_19_to_999_and_its_first_step_ends_at_0() -> None:
    grid = solver_grid(50)
    assert grid.start.tolist() == list(range(19, 1000, 20))
    assert grid.end.tolist() == [0, *range(19, 980, 20)]


@pytest.mark.parametrize("count", [10, 25, 40, 100])
def test_each_step_of_a_grid_starts_where_the_next_one_ends(count: int) -> None:
    grid = solver_grid(count)
    assert len(grid.start) == count
    assert grid.end[1:].tolist() == grid.start[:-1].tolist()
    assert grid.end[0] == 0


@pytest.mark.parametrize("count", [0, 1001])
def test_a_grid_of_no_step_or_of_more_steps_than_timesteps_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="num_ddim_timesteps"):
        solver_grid(count)


def test_the_samplers_few_timesteps_lie_on_the_grid_of_the_distillation() -> None:
    scheduler = LCMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    for steps, expected in {1: [999], 2: [999, 499], 4: [999, 759, 499, 259]}.items():
        scheduler.set_timesteps(steps, original_inference_steps=50)
        assert scheduler.timesteps.tolist() == expected
        assert set(expected) <= set(solver_grid(50).start.tolist())


def test_the_boundary_is_the_identity_at_0_and_the_network_elsewhere() -> None:
    skip, out = consistency.boundary(torch.tensor([0, 19, 999]), torch.float64)
    assert skip.flatten().tolist() == pytest.approx([1.0, 6.9252e-6, 2.505e-9], rel=1e-3)
    assert out.flatten().tolist() == pytest.approx([0.0, 1.0, 1.0], abs=1e-5)


def test_f_at_timestep_0_returns_z_whatever_the_network_says(schedule: Schedule) -> None:
    z, output = _tensors(2)
    assert torch.equal(consistency.consistency_function(output, z, torch.zeros(4, dtype=torch.long), schedule), z)


def test_conversions_invert_the_forward_process(schedule: Schedule) -> None:
    x0, eps = _tensors(2)
    alpha, sigma = schedule.at(torch.tensor([0, 19, 500, 999]), torch.float64)
    z = consistency.diffuse(x0, eps, alpha, sigma)
    output = consistency.output_for(x0, eps, alpha, sigma, schedule.prediction)
    known = (output, z, alpha, sigma, schedule.prediction)
    torch.testing.assert_close(consistency.denoised(*known), x0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(consistency.noise(*known), eps, rtol=1e-9, atol=1e-9)


def test_the_augmented_step_and_f_equal_the_formulas_of_the_published_scripts(schedule: Schedule) -> None:
    z, conditional, unconditional = _tensors(3)
    index = torch.tensor([0, 3, 30, 49])
    grid, w = solver_grid(50), 7.5
    start, end = grid.start[index], grid.end[index]
    got = consistency.augmented_step(conditional, unconditional, z, start, end, w, schedule)
    expected = _published_step(*(t.numpy() for t in (conditional, unconditional, z, index)), w, schedule.prediction)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-6)
    got_f = consistency.consistency_function(conditional, z, start, schedule)
    expected_f = _published_f(conditional.numpy(), z.numpy(), start.numpy(), schedule.prediction)
    np.testing.assert_allclose(got_f.numpy(), expected_f, rtol=1e-6, atol=1e-6)


def test_the_same_in_float32_differs_by_rounding_alone(schedule: Schedule) -> None:
    z, conditional, unconditional = _tensors(3)
    start, end = torch.tensor([19, 259, 499, 999]), torch.tensor([0, 239, 479, 979])
    exact = consistency.augmented_step(conditional, unconditional, z, start, end, 4.0, schedule)
    single = consistency.augmented_step(
        conditional.float(), unconditional.float(), z.float(), start, end, 4.0, schedule
    )
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-4)


def test_distances_equal_the_formulas_of_the_published_scripts() -> None:
    a, b = _tensors(2)
    squared, huber = consistency.squared_distance(a, b), consistency.pseudo_huber_distance(a, b, 0.001)
    assert squared.shape == huber.shape == (4,)
    assert squared.mean().item() == pytest.approx(np.mean((a.numpy() - b.numpy()) ** 2), rel=1e-12)
    expected = np.mean(np.sqrt((a.numpy() - b.numpy()) ** 2 + 0.001**2) - 0.001)
    assert huber.mean().item() == pytest.approx(expected, rel=1e-12)


def test_guided_solver_steps_converge_with_order_one_to_the_known_flow_of_a_gaussian(schedule: Schedule) -> None:
    errors = [_flow_error(schedule, count) for count in (50, 100, 200, 500)]
    orders = [np.log(errors[i] / errors[i + 1]) / np.log(ratio) for i, ratio in enumerate((2, 2, 2.5))]
    assert errors[-1] < 0.02
    assert min(orders) > 0.85
    assert max(orders) < 1.15


def test_the_closed_form_consistency_function_has_no_loss_along_the_flow(schedule: Schedule) -> None:
    mean, spread = 0.7, 0.4
    noise = _tensors(1)[0]
    values = []
    for timestep in (999, 499, 19):
        t = torch.full((4,), timestep)
        alpha, sigma = schedule.at(t, torch.float64)
        z = alpha * mean + (alpha**2 * spread**2 + sigma**2).sqrt() * noise
        endpoint = mean + spread * noise
        eps = (z - alpha * endpoint) / sigma
        output = consistency.output_for(endpoint, eps, alpha, sigma, schedule.prediction)
        values.append(consistency.consistency_function(output, z, t, schedule))
    torch.testing.assert_close(values[0], values[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(values[1], values[2], rtol=1e-4, atol=1e-4)


def _tensors(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, 4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(count)]


def _published_step(
    conditional: np.ndarray, unconditional: np.ndarray, z: np.ndarray, index: np.ndarray, w: float, kind: str
) -> np.ndarray:
    """train_lcm_distill_lora_sd_wds.py: guidance on both predictions, then DDIMSolver.ddim_step."""
    ddim_timesteps = np.arange(1, 51) * 20 - 1
    cumprods_prev = np.asarray([ABAR[0], *ABAR[ddim_timesteps[:-1]]])[index].reshape(-1, 1, 1, 1)
    timesteps = ddim_timesteps[index]
    x0_c, x0_u = (_published_x0(o, z, timesteps, kind) for o in (conditional, unconditional))
    eps_c, eps_u = (_published_eps(o, z, timesteps, kind) for o in (conditional, unconditional))
    pred_x0, pred_noise = x0_c + w * (x0_c - x0_u), eps_c + w * (eps_c - eps_u)
    return np.sqrt(cumprods_prev) * pred_x0 + np.sqrt(1.0 - cumprods_prev) * pred_noise


def _published_x0(output: np.ndarray, z: np.ndarray, timesteps: np.ndarray, kind: str) -> np.ndarray:
    alphas, sigmas = (v[timesteps].reshape(-1, 1, 1, 1) for v in (np.sqrt(ABAR), np.sqrt(1 - ABAR)))
    return {
        "epsilon": (z - sigmas * output) / alphas,
        "sample": output,
        "v_prediction": alphas * z - sigmas * output,
    }[kind]


def _published_eps(output: np.ndarray, z: np.ndarray, timesteps: np.ndarray, kind: str) -> np.ndarray:
    alphas, sigmas = (v[timesteps].reshape(-1, 1, 1, 1) for v in (np.sqrt(ABAR), np.sqrt(1 - ABAR)))
    return {
        "epsilon": output,
        "sample": (z - alphas * output) / sigmas,
        "v_prediction": alphas * output + sigmas * z,
    }[kind]


def _published_f(output: np.ndarray, z: np.ndarray, timesteps: np.ndarray, kind: str) -> np.ndarray:
    scaled = timesteps.reshape(-1, 1, 1, 1) / 0.1
    c_skip = 0.5**2 / (scaled**2 + 0.5**2)
    c_out = scaled / (scaled**2 + 0.5**2) ** 0.5
    return c_skip * z + c_out * _published_x0(output, z, timesteps, kind)


def _flow_error(schedule: Schedule, count: int) -> float:
    """Largest error of `count` guided steps 999 -> 0 on N(0.5, 0.6^2) against N(-0.2, 0.6^2), w = 2.

    Guidance between Gaussians of one variance is the Gaussian of mean c + w (c - u), whose flow keeps
    (z - alpha mean) / sqrt(alpha^2 spread^2 + sigma^2) constant.
    """
    conditional_mean, unconditional_mean, spread, w = 0.5, -0.2, 0.6, 2.0
    mean = conditional_mean + w * (conditional_mean - unconditional_mean)

    def optimal(z: torch.Tensor, t: torch.Tensor, data_mean: float) -> torch.Tensor:
        alpha, sigma = schedule.at(t, torch.float64)
        eps = sigma * (z - alpha * data_mean) / (alpha**2 * spread**2 + sigma**2)
        x0 = (z - sigma * eps) / alpha
        return consistency.output_for(x0, eps, alpha, sigma, schedule.prediction)

    noise = _tensors(1)[0]
    grid = solver_grid(count)
    alpha, sigma = schedule.at(grid.start[-1:], torch.float64)
    z = alpha * mean + (alpha**2 * spread**2 + sigma**2).sqrt() * noise
    for i in reversed(range(count)):
        start, end = grid.start[i].expand(4), grid.end[i].expand(4)
        outputs = optimal(z, start, conditional_mean), optimal(z, start, unconditional_mean)
        z = consistency.augmented_step(*outputs, z, start, end, w, schedule)
    alpha, sigma = schedule.at(torch.tensor([0]), torch.float64)
    truth = alpha * mean + (alpha**2 * spread**2 + sigma**2).sqrt() * noise
    return float((z - truth).abs().max())

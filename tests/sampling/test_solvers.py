"""Solvers: the report's grid, nothing inherited from a base but its schedule, and the order of convergence."""

import numpy as np
import pytest
import torch

from demo.training.networks import scheduler as shapes_scheduler
from sampling import SOLVERS, find_solver, known_warnings_silenced, make_scheduler
from sampling.errors import UnknownSolver, UnsupportedSetting
from sampling.solvers import check_settings

CONFIG = dict(shapes_scheduler().config)
ALPHAS_BAR = shapes_scheduler().alphas_cumprod.double()
MEAN, SPREAD = 0.3, 0.6
"""The data: one Gaussian number, whose probability flow is known in closed form."""

STARTS = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(9, 1, 1, 1)

GRIDS = {1: [999], 2: [999, 499], 4: [999, 759, 499, 259], 8: [999, 879, 759, 639, 499, 379, 259, 139]}


def prepared(name, steps, config=CONFIG, **options):
    scheduler = make_scheduler(name, config, **options)
    with known_warnings_silenced():
        scheduler.set_timesteps(steps)
    return scheduler


def best_prediction(prediction_type, z, t):
    """What a perfect network says of z at timestep t: epsilon, v or x_0, from E[epsilon | z] in float64."""
    alpha, sigma = ALPHAS_BAR[int(t)].sqrt(), (1 - ALPHAS_BAR[int(t)]).sqrt()
    epsilon = sigma * (z - alpha * MEAN) / (alpha**2 * SPREAD**2 + sigma**2)
    denoised = (z - sigma * epsilon) / alpha
    return {"epsilon": epsilon, "sample": denoised, "v_prediction": alpha * epsilon - sigma * denoised}[prediction_type]


def flow(z, start, stop):
    """The probability flow of the Gaussian: (z - alpha m) / sqrt(alpha^2 s^2 + sigma^2) is constant along it."""

    def moments(alpha_bar):
        return alpha_bar.sqrt() * MEAN, (alpha_bar * SPREAD**2 + 1 - alpha_bar).sqrt()

    (mean, width), (end_mean, end_width) = moments(start), moments(stop)
    return end_mean + end_width * (z - mean) / width


def solved(name, steps, *, stop=None, prediction_type="epsilon"):
    """z at timestep `stop` (None: after the last step), from the same z at timestep 999, without fresh noise."""
    scheduler = prepared(name, steps, {**CONFIG, "prediction_type": prediction_type})
    scaled = name == "euler"  # its state is z / alpha
    z = STARTS / (ALPHAS_BAR[999].sqrt() if scaled else 1)
    arguments = find_solver(name).step_arguments(0.0, [torch.Generator().manual_seed(0)])
    for t in scheduler.timesteps:
        if int(t) == stop:
            return z * (ALPHAS_BAR[stop].sqrt() if scaled else 1)
        predicted = best_prediction(prediction_type, scheduler.scale_model_input(z, t), t)
        z = scheduler.step(predicted, t, z, **arguments, return_dict=False)[0]
    return z


@pytest.mark.parametrize("solver", ["lcm", "tcd"])
@pytest.mark.parametrize("steps", GRIDS)
def test_distilled_solvers_paint_on_the_reports_grid(solver, steps):
    assert prepared(solver, steps).timesteps.tolist() == GRIDS[steps]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
def test_trailing_is_the_default_and_starts_at_pure_noise(solver, steps):
    timesteps = prepared(solver, steps).timesteps
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert (timesteps.diff() < 0).all()


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_base_decides_its_noise_schedule_and_prediction_and_nothing_else(solver):
    theirs = {
        "clip_sample": True,
        "set_alpha_to_one": True,
        "steps_offset": 0,
        "timestep_spacing": "leading",
        "final_sigmas_type": "sigma_min",
        "solver_order": 3,
        "algorithm_type": "sde-dpmsolver++",
        "use_karras_sigmas": True,
        "original_inference_steps": 100,
        "thresholding": True,
        "skip_prk_steps": True,
        "_class_name": "PNDMScheduler",
    }
    ours = make_scheduler(solver, CONFIG).config
    assert dict(make_scheduler(solver, {**CONFIG, **theirs}).config) == dict(ours)
    other = make_scheduler(solver, {**CONFIG, "beta_end": 0.02, "prediction_type": "v_prediction"}).config
    assert (other["beta_end"], other["prediction_type"]) == (0.02, "v_prediction")


def test_what_each_solver_fixes_is_what_its_scheduler_has():
    for name, solver in SOLVERS.items():
        config = make_scheduler(name, CONFIG).config
        assert {key: config[key] for key in solver.settings} == dict(solver.settings)
        assert config["timestep_spacing"] == "trailing"
    assert make_scheduler("dpm", CONFIG).config["final_sigmas_type"] == "sigma_min"


@pytest.mark.parametrize("solver", [name for name, solver in SOLVERS.items() if len(solver.spacings) > 1])
def test_each_spacing_gives_other_timesteps(solver):
    grids = {tuple(prepared(solver, 5, spacing=spacing).timesteps.tolist()) for spacing in SOLVERS[solver].spacings}
    assert len(grids) == len(SOLVERS[solver].spacings)


ORDERS = {"ddim": 1, "tcd": 1, "euler": 1, "dpm": 2, "dpm++": 2, "unipc": 3}
"""UniPC: solver_order 2, and one more from its corrector (Zhao et al. 2023)."""


@pytest.mark.parametrize("solver", ORDERS)
def test_the_error_falls_with_the_solvers_order(solver):
    steps, stop = ((5, 10, 25, 50), 199) if solver == "tcd" else ((20, 40, 100), 249)
    exact = flow(STARTS, ALPHAS_BAR[999], ALPHAS_BAR[stop])
    errors = [(solved(solver, n, stop=stop) - exact).abs().max().item() for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert ORDERS[solver] - 0.1 < slope < ORDERS[solver] + 0.95


@pytest.mark.parametrize("solver", ORDERS)
def test_fifty_steps_end_where_the_flow_ends(solver):
    exact = flow(STARTS, ALPHAS_BAR[999], torch.ones((), dtype=torch.float64))
    assert (solved(solver, 50) - exact).abs().max() < 0.07


@pytest.mark.parametrize(
    ("solver", "prediction_type"),
    [
        (solver, prediction_type)
        for solver in SOLVERS
        for prediction_type in ("v_prediction", "sample")
        if (solver, prediction_type) != ("euler", "sample")  # which diffusers' Euler refuses
    ],
)
def test_what_the_network_predicts_does_not_matter(solver, prediction_type):
    torch.testing.assert_close(
        solved(solver, 8, prediction_type=prediction_type), solved(solver, 8), rtol=1e-5, atol=1e-5
    )


def test_lcm_is_the_reports_multistep_sampler():
    generator = torch.Generator().manual_seed(0)
    z = STARTS
    for t, following in zip(GRIDS[4], [*GRIDS[4][1:], None], strict=True):
        s = 10 * t
        c_skip, c_out = 0.25 / (s**2 + 0.25), s / (s**2 + 0.25) ** 0.5
        denoised = c_skip * z + c_out * best_prediction("sample", z, t)
        if following is None:
            z = denoised
        else:
            noise = torch.randn(z.shape, generator=generator, dtype=torch.float64)
            z = ALPHAS_BAR[following].sqrt() * denoised + (1 - ALPHAS_BAR[following]).sqrt() * noise
    torch.testing.assert_close(solved("lcm", 4), z, rtol=1e-6, atol=1e-6)


def test_who_injects_noise_beyond_the_first():
    assert [name for name, solver in SOLVERS.items() if not solver.deterministic] == ["lcm"]
    assert not SOLVERS["lcm"].injects_noise(1)
    assert SOLVERS["lcm"].injects_noise(2)
    assert SOLVERS["tcd"].injects_noise(4, eta=0.3)
    assert not SOLVERS["tcd"].injects_noise(4)
    assert not SOLVERS["euler"].injects_noise(4)


@pytest.mark.parametrize(
    ("solver", "changes", "message"),
    [
        ("lcm", {"spacing": "leading"}, "LCM: timestep spacing must be trailing, got 'leading'"),
        ("lcm", {"steps": 51}, "steps must lie in 1 to 50, got 51"),
        ("ddim", {"steps": 0}, "steps must lie in 1 to 1000, got 0"),
        ("euler", {"eta": 0.5}, "Euler has no eta .got 0.5.; leave it at 0 or take one of tcd, ddim"),
        ("ddim", {"eta": 1.5}, "eta must lie in 0 to 1, got 1.5"),
        ("unipc", {"spacing": "karras"}, "must be trailing or leading or linspace, got 'karras'"),
    ],
)
def test_a_setting_that_a_solver_would_ignore_is_refused(solver, changes, message):
    with pytest.raises(UnsupportedSetting, match=message):
        check_settings(SOLVERS[solver], **{"steps": 4, "spacing": "trailing", "eta": 0.0, **changes})


def test_an_unknown_solver_is_answered_with_the_nearest_name():
    with pytest.raises(UnknownSolver, match=r"'DPM\+' is no solver; .* Did you mean 'dpm"):
        find_solver("DPM+")

"""The numbers against independent computations, and against what they must be in closed form."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from distill_jobs.evaluation import measures
from sampling import endpoint_error


def test_the_mean_of_the_endpoint_errors_is_the_endpoint_error() -> None:
    latents, reference = _normal(5, 4, 3, 3, seed=0), 2 * _normal(5, 4, 3, 3, seed=1)
    errors = measures.endpoint_errors(latents, reference)
    assert errors.shape == (5,)
    assert errors.mean() == pytest.approx(endpoint_error(latents, reference), rel=1e-12)
    assert measures.endpoint_errors(reference, reference).max() == 0.0


def test_predicting_the_mean_scores_one() -> None:
    reference = _normal(6, 4, 3, 3, seed=2)
    assert measures.endpoint_errors(torch.full_like(reference, reference.mean()), reference).mean() == pytest.approx(1)


def test_self_consistency_is_the_variance_along_the_trajectory() -> None:
    estimates, reference = _normal(7, 3, 4, 2, 2, seed=3), _normal(3, 4, 2, 2, seed=4)
    got = measures.self_consistency(estimates, reference)
    wanted = np.var(estimates.numpy(), axis=0).reshape(3, -1).mean(axis=1) / np.var(reference.numpy())
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    assert measures.self_consistency(estimates[:1].expand(7, -1, -1, -1, -1), reference).max() < 1e-30


def test_a_constant_reference_has_no_relative_error() -> None:
    with pytest.raises(ValueError, match="variance is 0"):
        measures.endpoint_errors(torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2))


def test_blur_lowers_sharpness_and_the_reference_s_own_is_one() -> None:
    pictures = _pictures(4, seed=5)
    blurred = [picture.filter(ImageFilter.GaussianBlur(1)) for picture in pictures]
    assert measures.sharpness(pictures, pictures).mean() == pytest.approx(1)
    assert measures.sharpness(blurred, pictures).max() < 0.2


def test_the_sliced_distance_of_shifted_pictures_is_that_of_the_shift() -> None:
    plain = [Image.new("RGB", (2, 2), (value,) * 3) for value in (10, 60, 110)]
    shifted = [Image.new("RGB", (2, 2), (value + 51,) * 3) for value in (10, 60, 110)]
    lines = torch.randn(12, measures.PROJECTIONS, generator=torch.Generator().manual_seed(6))
    shift = (0.2 * lines / lines.norm(dim=0)).sum(dim=0)
    wanted = shift.square().mean().sqrt().item()
    assert measures.sliced_wasserstein(shifted, plain, seed=6) == pytest.approx(wanted, rel=1e-5)
    assert measures.sliced_wasserstein(plain[::-1], plain, seed=6) == pytest.approx(0, abs=1e-6)


def test_pictures_that_became_alike_are_far_from_a_varied_set() -> None:
    varied, others = _pictures(6, seed=7), _pictures(6, seed=8)
    alike = [varied[0]] * 6
    assert measures.sliced_wasserstein(alike, varied, 0) > measures.sliced_wasserstein(others, varied, 0)


def test_intervals_hold_the_mean_and_pairs_are_kept_together() -> None:
    values = np.random.default_rng(9).normal(size=40)
    mean, low, high = measures.interval(values, 0)
    assert low < mean < high
    assert mean == pytest.approx(values.mean())
    paired = measures.difference(values + 0.5, values, 0)
    assert paired == pytest.approx((0.5, 0.5, 0.5))


def test_a_ratio_of_the_same_pictures_has_no_spread_and_none_exists_over_zero() -> None:
    values = np.random.default_rng(10).uniform(1, 2, size=30)
    assert measures.ratio(0.9 * values, values, 0) == pytest.approx((0.9, 0.9, 0.9))
    assert measures.ratio(values, np.zeros(30), 0) is None


def _normal(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _pictures(count: int, seed: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)) for _ in range(count)]

"""Metrics: what each counts, its fixed points, and the coverage of the bootstrap."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from sampling import accuracy, agreement, endpoint_error, heads_right, joint_right, paired_bootstrap, sharpness

TRUTH = {"shape": "circle", "colour": "red", "style": "outline"}


def test_attribute_style_and_joint_accuracy():
    readings = [
        TRUTH,
        {**TRUTH, "shape": "cross"},
        {**TRUTH, "style": "flat"},
        {**TRUTH, "shape": "cross", "colour": "blue", "size": "large"},
    ]
    scores = accuracy(readings, [TRUTH] * 4)
    assert scores == {"attribute": (2 / 4 + 3 / 4) / 2, "style": 3 / 4, "joint": 1 / 4}
    assert joint_right(readings, [TRUTH] * 4).tolist() == [True, False, False, False]
    assert heads_right(readings, [TRUTH] * 4)["colour"].tolist() == [True, True, True, False]


def test_a_truth_without_a_style_asks_for_none():
    truth = {"shape": "circle"}
    assert accuracy([TRUTH], [truth]) == {"attribute": 1.0, "style": None, "joint": 1.0}
    assert accuracy([TRUTH], [{"style": "flat"}]) == {"attribute": None, "style": 0.0, "joint": 0.0}


@pytest.mark.parametrize(
    ("readings", "truths", "message"),
    [
        ([], [], "at least one: got 0 and 0"),
        ([TRUTH], [TRUTH, TRUTH], "got 1 and 2"),
        ([{"shape": "circle"}], [TRUTH], "picture 0: its truth must have the heads"),
        ([TRUTH, TRUTH], [TRUTH, {"shape": "circle"}], "picture 1: its truth"),
        ([TRUTH], [{}], "picture 0: its truth names no head"),
    ],
)
def test_readings_that_cannot_be_compared_are_refused(readings, truths, message):
    with pytest.raises(ValueError, match=message):
        accuracy(readings, truths)


def test_endpoint_error_of_the_reference_of_its_mean_and_of_other_noise():
    reference = torch.randn(200, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    other = torch.randn(200, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert endpoint_error(reference, reference) == 0
    assert endpoint_error(reference.mean().expand_as(reference), reference) == pytest.approx(1, abs=1e-6)
    assert endpoint_error(other, reference) == pytest.approx(2, rel=0.02)
    assert endpoint_error(3 * reference.half(), 3 * reference) < 1e-6


def test_endpoint_error_does_not_depend_on_the_scale():
    a, b = torch.randn(2, 10, 4, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert endpoint_error(7 * a, 7 * b) == pytest.approx(endpoint_error(a, b))


def test_endpoint_error_refuses_what_has_no_variance_or_another_shape():
    with pytest.raises(ValueError, match="constant"):
        endpoint_error(torch.ones(2, 4), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="must agree"):
        endpoint_error(torch.ones(2, 4), torch.zeros(1, 4))


def test_the_interval_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    a, b = rng.random(600) < 0.6, rng.random(600) < 0.5
    mean, low, high = paired_bootstrap(a, b, seed=0)
    difference = a.astype(float) - b
    half = 1.96 * difference.std() / 600**0.5
    assert mean == difference.mean()
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.006)


def test_pairing_makes_the_interval_narrower():
    rng = np.random.default_rng(0)
    common = rng.normal(size=300)
    a, b = common + 0.1 * rng.normal(size=300) + 0.05, common + 0.1 * rng.normal(size=300)
    paired, unpaired = paired_bootstrap(a, b, seed=0), paired_bootstrap(a, rng.permutation(b), seed=0)
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)


def test_ninety_five_percent_intervals_hold_the_truth_about_that_often():
    rng = np.random.default_rng(1)
    held = [
        low <= 0.1 <= high
        for _ in range(300)
        for _, low, high in [paired_bootstrap(rng.random(80) < 0.6, rng.random(80) < 0.5, seed=2, resamples=400)]
    ]
    assert 0.91 < np.mean(held) < 0.98


def test_seed_resamples_and_confidence_matter():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 100))
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)
    assert paired_bootstrap(a, b, seed=1, resamples=50) != paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1, confidence=0.5).high < paired_bootstrap(a, b, seed=1).high


def test_equal_rows_have_an_interval_at_zero():
    assert paired_bootstrap([1, 0, 1], [1, 0, 1], seed=0) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]]), ([1.0, 2.0], [1.0])])
def test_rows_that_are_no_pairs_are_refused(a, b):
    with pytest.raises(ValueError, match="two equally long rows"):
        paired_bootstrap(a, b, seed=0)


def noise(seed, size=(24, 16)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def test_agreement_is_one_with_itself_nothing_with_a_flat_picture_of_its_mean_and_less_with_another():
    reference = noise(0)
    mean = round(float(np.asarray(reference).mean()))
    assert agreement(reference, reference) == 1.0
    assert agreement(Image.new("RGB", reference.size, (mean,) * 3), reference) == pytest.approx(0, abs=1e-3)
    assert agreement(noise(1), reference) < -0.5
    pixels, truth = (torch.from_numpy(np.asarray(picture) / 255.0) for picture in (noise(1), reference))
    assert agreement(noise(1), reference) == pytest.approx(1 - endpoint_error(pixels, truth))
    with pytest.raises(ValueError, match="they must agree"):
        agreement(noise(0, (8, 8)), reference)


def test_sharpness_is_nothing_on_a_ramp_falls_with_blur_and_rises_with_contrast():
    ramp = Image.fromarray(np.tile(np.arange(0, 160, 10, dtype=np.uint8), (16, 1)))
    assert sharpness(ramp) == pytest.approx(0, abs=1e-12)
    edge = Image.fromarray(np.where(np.arange(24) < 12, 40, 120).astype(np.uint8)[None].repeat(24, 0))
    contrast = edge.point(lambda value: 2 * value)
    assert 0 < sharpness(edge.filter(ImageFilter.GaussianBlur(2))) < sharpness(edge)
    assert sharpness(contrast) == pytest.approx(4 * sharpness(edge))
    with pytest.raises(ValueError, match="needs 3x3"):
        sharpness(Image.new("L", (2, 9)))


def test_sharpness_is_the_energy_of_the_laplacian_written_out():
    light = np.asarray(noise(3).convert("L"), dtype=np.float64) / 255
    values = [
        light[i - 1, j] + light[i + 1, j] + light[i, j - 1] + light[i, j + 1] - 4 * light[i, j]
        for i in range(1, light.shape[0] - 1)
        for j in range(1, light.shape[1] - 1)
    ]
    assert sharpness(noise(3)) == pytest.approx(np.square(values).mean())

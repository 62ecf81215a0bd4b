"""Numbers that say how near a painting is to the teacher's, one a picture where a picture has one.

Everything is accumulated in float64 and is a function of its inputs alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from sampling import joint_right, paired_bootstrap
from sampling.metrics import Interval, Reading
from sampling.metrics import sharpness as energy

RESAMPLES = 2_000
PROJECTIONS = 128

Values = np.ndarray
"""(N,) float64: one number a picture."""

Measured = Mapping[str, Values | float]
"""Measure -> one number a picture, or one number of the whole set."""


def endpoint_errors(latents: Tensor, reference: Tensor) -> Values:
    """(N,) MSE(latents_i, reference_i) / Var(reference), both (N, C, h, w) from the same x_T.

    Their mean is `sampling.endpoint_error`: 0 is the reference itself, predicting its mean everywhere scores 1.
    """
    errors = (latents.cpu().double() - reference.cpu().double()).square().flatten(1).mean(1)
    return (errors / variance(reference)).numpy()


def self_consistency(estimates: Tensor, reference: Tensor) -> Values:
    """(N,) Var_t(f(z_t, t)) / Var(reference) for estimates f (T, N, C, h, w) along one trajectory a picture.

    0 for a consistency function (Song et al. 2023, arXiv 2303.01469, definition 1), whose value does not change along
    a trajectory. The variance (over T, not T - 1) is averaged over the latent's elements.
    """
    spread = estimates.cpu().double().var(dim=0, correction=0).flatten(1).mean(1)
    return (spread / variance(reference)).numpy()


def variance(reference: Tensor) -> float:
    """The variance of all elements of `reference`. Raises ValueError when it is 0, as of a constant."""
    spread = reference.cpu().double().var(correction=0).item()
    if spread == 0:
        raise ValueError("the teacher's latents are constant: their variance is 0, so no relative error exists")
    return spread


def sharpness(images: Sequence[Image], reference: Sequence[Image]) -> Values:
    """(N,) energy of each picture's Laplacian over the mean energy of the reference's: below 1 is blur."""
    energies, teachers = (np.array([energy(one) for one in some]) for some in (images, reference))
    return energies / max(teachers.mean(), np.finfo(np.float64).tiny)


def sliced_wasserstein(images: Sequence[Image], reference: Sequence[Image], seed: int) -> float:
    """The 2-Wasserstein distance between two equally large sets of pictures, averaged over random lines.

    sqrt(mean over lines of mean_i (sorted(x . line)_i - sorted(y . line)_i)^2), pixels in [0, 1]; Bonneel et al. 2015.
    Rises when pictures become alike, which no error of single pictures shows.
    """
    x, y = _flat(images), _flat(reference)
    lines = torch.randn(x.shape[1], PROJECTIONS, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    lines /= lines.norm(dim=0)
    distance = (x @ lines).sort(dim=0).values - (y @ lines).sort(dim=0).values
    return float(distance.double().square().mean().sqrt())


def _flat(images: Sequence[Image]) -> Tensor:
    rows = [torch.from_numpy(np.array(image.convert("RGB"), dtype=np.float32)).flatten() for image in images]
    return torch.stack(rows) / 255


def right(readings: Sequence[Reading], truths: Sequence[Reading]) -> Values:
    """(N,) 1 where every head of the truth is read so, else 0."""
    return joint_right(readings, truths).astype(np.float64)


def interval(values: Values, seed: int) -> Interval:
    """The mean over the pictures with its 95 % bootstrap interval."""
    return difference(values, np.zeros_like(values), seed)


def difference(values: Values, other: Values, seed: int) -> Interval:
    """The mean of values - other over the same pictures with its 95 % bootstrap interval, pairs kept together."""
    return paired_bootstrap(values, other, seed, resamples=RESAMPLES)


def ratio(values: Values, other: Values, seed: int) -> Interval | None:
    """mean(values) / mean(other) over the same pictures with its 95 % bootstrap interval, pairs kept together.

    None where a resample's divisor is 0.
    """
    drawn = np.random.default_rng(seed).integers(values.size, size=(RESAMPLES, values.size))
    divisors = other[drawn].mean(axis=1)
    if not divisors.all():
        return None
    low, high = np.quantile(values[drawn].mean(axis=1) / divisors, [0.025, 0.975])
    return Interval(float(values.mean() / other.mean()), float(low), float(high))

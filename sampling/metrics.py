"""Numbers that say how well something was painted: accuracies, endpoint error, agreement, sharpness, intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image
from torch import Tensor

STYLE = "style"
"""The head that names a picture's style; all others are attributes of what the prompt asked for."""

DRAWN_AT_ONCE = 2**20
"""Pictures drawn at once by a bootstrap: 16 MiB."""

Reading = Mapping[str, str]


class Interval(NamedTuple):
    """A mean and the interval that holds it at the asked confidence."""

    mean: float
    low: float
    high: float


def heads_right(readings: Sequence[Reading], truths: Sequence[Reading]) -> dict[str, np.ndarray]:
    """Head -> for each picture, whether the reading agrees with the truth: bool (N,).

    Raises ValueError when there are no pictures, the lengths differ, or a reading lacks a head of its truth.
    """
    if len(readings) != len(truths) or not truths:
        raise ValueError(f"one truth for each reading, at least one: got {len(readings)} and {len(truths)}")
    if not (heads := list(truths[0])):
        raise ValueError("picture 0: its truth names no head, so nothing can be right or wrong")
    for i, (reading, truth) in enumerate(zip(readings, truths, strict=True)):
        if set(truth) != set(heads) or not set(heads) <= set(reading):
            raise ValueError(f"picture {i}: its truth must have the heads {heads}, and its reading all of them")
    return {h: np.array([r[h] == t[h] for r, t in zip(readings, truths, strict=True)]) for h in heads}


def joint_right(readings: Sequence[Reading], truths: Sequence[Reading]) -> np.ndarray:
    """For each picture, whether every head of its truth is right: bool (N,). What `paired_bootstrap` compares."""
    return np.stack(list(heads_right(readings, truths).values())).all(axis=0)


def accuracy(readings: Sequence[Reading], truths: Sequence[Reading]) -> dict[str, float | None]:
    """Shares in 0 to 1: attribute (mean over the heads beside style), style (None if no truth names one), joint."""
    right = heads_right(readings, truths)
    attributes = [values.mean() for head, values in right.items() if head != STYLE]
    return {
        "attribute": float(np.mean(attributes)) if attributes else None,
        "style": float(right[STYLE].mean()) if STYLE in right else None,
        "joint": float(joint_right(readings, truths).mean()),
    }


def endpoint_error(latents: Tensor, reference: Tensor) -> float:
    """MSE(latents, reference) / Var(reference), both (N, channels, height, width) from the same x_T.

    0 is the reference itself; predicting its mean everywhere scores 1. Accumulated in float64. Only meaningful for
    solvers that inject no noise. Raises ValueError for unequal shapes or a constant reference.
    """
    if latents.shape != reference.shape:
        raise ValueError(
            f"latents are {tuple(latents.shape)}, the reference is {tuple(reference.shape)}; they must agree"
        )
    truth = reference.detach().cpu().double()
    if (variance := truth.var(correction=0).item()) == 0:
        raise ValueError("the reference latents are constant: their variance is 0, so no relative error exists")
    return (latents.detach().cpu().double() - truth).square().mean().item() / variance


def agreement(image: Image.Image, reference: Image.Image) -> float:
    """1 - MSE(image, reference) / Var(reference) over all pixels and channels: 1 is the reference itself.

    The share of the reference's variance that the picture explains; at or below 0 it is no better than one flat
    colour. Both (height, width, 3) of one size, from the same x_T, or it means nothing. Raises ValueError as
    `endpoint_error`, of which it is the complement on pictures.
    """
    pixels, truth = (_pixels(picture) for picture in (image, reference))
    return 1 - endpoint_error(pixels, truth)


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the luminance in 0 to 1 (Pech-Pacheco et al. 2000): 0 is one flat colour.

    Rises with edges and with noise alike: it compares pictures of one motif. The Laplacian is the 4-neighbour one,
    inside the frame; float64. Raises ValueError for a picture below 3 x 3 pixels.
    """
    light = np.asarray(image.convert("L"), dtype=np.float64) / 255
    if min(light.shape) < 3:
        raise ValueError(f"a picture of {image.width}x{image.height} pixels has no inside; sharpness needs 3x3")
    middle = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * middle
    return float(laplacian.var())


def _pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float64) / 255)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, seed: int, *, resamples: int = 10_000, confidence: float = 0.95
) -> Interval:
    """Mean of a - b over pictures painted from the same prompts and noises, with its percentile interval.

    Efron and Tibshirani 1993, section 13.3: pictures are drawn with replacement, pairs kept together.
    a, b: (N,) numbers or booleans. Raises ValueError for unequal lengths or none.
    """
    if np.shape(a) != np.shape(b) or np.ndim(a) != 1 or not np.size(a):
        raise ValueError(f"a and b must be two equally long rows of numbers, got {np.shape(a)} and {np.shape(b)}")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rng = np.random.default_rng(seed)
    size = difference.size
    at_once = max(1, DRAWN_AT_ONCE // size)
    parts = [min(at_once, resamples - done) for done in range(0, resamples, at_once)]
    means = np.concatenate([difference[rng.integers(size, size=(part, size))].mean(axis=1) for part in parts])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(difference.mean()), float(low), float(high))

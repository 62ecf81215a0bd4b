"""DoRA: a weight as magnitudes times directions (Liu et al. 2024, 2402.09353), as three readers apply it at a strength.

W0 is the base's weight and dW the additive change at strength 1, both (m, n, k*k); d are the magnitudes and ||.|| the
norms of each output, (m, 1, 1), or of each input, (1, n, 1). The readers agree at strength 1, but for ComfyUI where
magnitudes belong to outputs. Each function returns what is added to W0 at `strength`, in float64.
"""

import torch
from torch import Tensor

from arithmetic.errors import AlgebraError

OUTPUTS, INPUTS = (1, 2), (0, 2)
"""The axes that a norm of each output, or of each input, runs over."""

Axes = tuple[int, int]


def peft_dora(base: Tensor, change: Tensor, magnitude: Tensor, axes: Axes, strength: float) -> Tensor:
    """d V / ||V|| - W0 with V = W0 + strength * dW (peft 0.21, tuners/lora/dora.py).

    At strength 0 the weight becomes d W0 / ||W0||.
    """
    adapted = base + strength * change
    return _stretched(adapted, adapted, magnitude, axes) - base


def lycoris_dora(base: Tensor, change: Tensor, magnitude: Tensor, axes: Axes, strength: float) -> Tensor:
    """V [strength (d / ||V|| - 1) + 1] - W0 with V = W0 + dW (lycoris-lora 4.1, functional/general.py).

    At strength 0 it is dW, not zero. The eps of its dtype that LyCORIS adds to the norm is left out.
    """
    adapted = base + change
    return strength * (_stretched(adapted, adapted, magnitude, axes) - adapted) + adapted - base


def comfy_dora(base: Tensor, change: Tensor, magnitude: Tensor, axes: Axes, strength: float) -> Tensor:
    """strength (d V / N - W0) with V = W0 + dW (ComfyUI, comfy/weight_adapter/base.py).

    N is ||V|| for magnitudes of inputs, but ||W0|| for those of outputs (its pull request 15458 would change that).
    """
    adapted = base + change
    return strength * (_stretched(adapted, base if axes == OUTPUTS else adapted, magnitude, axes) - base)


def _stretched(weight: Tensor, measured: Tensor, magnitude: Tensor, axes: Axes) -> Tensor:
    """weight * d / ||measured||; a row of zeros stays one. Raises AlgebraError for a row that is none, over 0."""
    norms = torch.linalg.vector_norm(measured, dim=axes, keepdim=True)
    empty = norms == 0
    if bool((empty & (weight != 0)).any()):
        raise AlgebraError("DoRA divides by the norm of a row of zeros of the base's weight. Use another dialect.")
    return weight * torch.where(empty, 0.0, magnitude.reshape(norms.shape) / torch.where(empty, 1.0, norms))

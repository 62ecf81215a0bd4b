"""U-Nets that are told their guidance: latent consistency models with `time_cond_proj_dim`.

Such a U-Net has the guidance distilled into it, so a picture costs one evaluation a step whatever the guidance. It is
told w of the LCM form, c + w (c - u); pipelines and `Settings` take the guidance scale w + 1, as everywhere else.
"""

from typing import Any

import torch
from torch import Tensor

EMBEDDING_WIDTH = 256
"""time_cond_proj_dim of every published latent consistency model."""

MULTIPLIER, LONGEST_PERIOD = 1000.0, 10000.0


def embeds_guidance(unet: Any) -> bool:
    """Whether a U-Net is told its guidance."""
    return unet.config.time_cond_proj_dim is not None


def guidance_embedding(w: Tensor, width: int = EMBEDDING_WIDTH) -> Tensor:
    """What a U-Net is told of w (B,): (B, width) float32, sin then cos of 1000 w / 10000^(i / (width / 2 - 1)).

    The sinusoidal embedding of Vaswani et al. 2017 (arXiv 1706.03762) as latent consistency models use it (arXiv
    2310.04378); computed in float32, as they were trained. Raises ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"width: got {width}, expected an even number: half sines, half cosines")
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32) * -(torch.log(torch.tensor(LONGEST_PERIOD)) / (half - 1)))
    angles = (w.float() * MULTIPLIER)[:, None] * rates.to(w.device)[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def timestep_condition(unet: Any, guidance: float, count: int) -> Tensor | None:
    """The `timestep_cond` of `count` rows at the guidance scale `guidance`; None for a U-Net that is not told."""
    if not embeds_guidance(unet):
        return None
    w = torch.full((count,), guidance - 1, device=unet.device)
    return guidance_embedding(w, unet.config.time_cond_proj_dim).to(unet.dtype)

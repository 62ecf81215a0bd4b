"""Which pipelines can be trained on."""

from typing import Any

import torch

from distill_jobs.consistency import Prediction
from distill_jobs.errors import UnsupportedBase
from sampling.guidance import embeds_guidance


def require_trainable(pipe: Any, *, is_distilled: bool = False) -> None:
    """Refuse a pipeline that is no plain Stable-Diffusion base in fp32 on the CPU, and say what it is instead.

    With `is_distilled` its U-Net must embed guidance, without it must not.
    """
    name = type(pipe).__name__
    if getattr(pipe, "text_encoder_2", None) is not None:
        raise UnsupportedBase(f"{name}: has two text encoders, expected a Stable-Diffusion base with one")
    channels, latent_channels = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    if channels != latent_channels:
        raise UnsupportedBase(
            f"{name}: the U-Net takes {channels} channels, its VAE makes {latent_channels}; "
            "an inpainting or depth base cannot be trained, use the base that it was made from"
        )
    if embeds_guidance(pipe.unet) and not is_distilled:
        raise UnsupportedBase(f"{name}: the U-Net embeds guidance, so it is distilled already; use the base before it")
    if is_distilled and not embeds_guidance(pipe.unet):
        raise UnsupportedBase(
            f"{name}: the U-Net embeds no guidance, expected a distilled one; make it with tau distill lcd, "
            "or fine-tune a vector beside an acceleration vector: --acceleration"
        )
    kind = pipe.scheduler.config.prediction_type
    if kind not in set(Prediction):
        raise UnsupportedBase(f"{name}: prediction_type is {kind!r}, expected one of {', '.join(Prediction)}")
    if pipe.unet.dtype != torch.float32:
        raise UnsupportedBase(f"{name}: loaded as {pipe.unet.dtype}; open it with dtype=torch.float32")
    if pipe.device.type != "cpu":
        raise UnsupportedBase(f"{name}: loaded on {pipe.device}; open it with device='cpu'")

"""Which pipelines can be trained on."""

from typing import Any

import torch

from distill_jobs.consistency import Prediction
from distill_jobs.errors import UnsupportedBase


def require_trainable(pipe: Any) -> None:
    """Refuse a pipeline that is no plain Stable-Diffusion base in fp32 on the CPU, and say what it is instead."""
    name = type(pipe).__name__
    if getattr(pipe, "text_encoder_2", None) is not None:
        raise UnsupportedBase(f"{name}: has two text encoders, expected a Stable-Diffusion base with one")
    channels, latent_channels = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    if channels != latent_channels:
        raise UnsupportedBase(
            f"{name}: the U-Net takes {channels} channels, its VAE makes {latent_channels}; "
            "an inpainting or depth base cannot be trained, use the base that it was made from"
        )
    if pipe.unet.config.time_cond_proj_dim is not None:
        raise UnsupportedBase(f"{name}: the U-Net embeds guidance, so it is distilled already; use the base before it")
    kind = pipe.scheduler.config.prediction_type
    if kind not in set(Prediction):
        raise UnsupportedBase(f"{name}: prediction_type is {kind!r}, expected one of {', '.join(Prediction)}")
    if pipe.unet.dtype != torch.float32:
        raise UnsupportedBase(f"{name}: loaded as {pipe.unet.dtype}; open it with dtype=torch.float32")
    if pipe.device.type != "cpu":
        raise UnsupportedBase(f"{name}: loaded on {pipe.device}; open it with device='cpu'")

"""Which pipelines can be trained on, whatever their precision and wherever they are."""

from typing import Any

from distill_jobs.consistency import Prediction
from distill_jobs.errors import UnsupportedBase
from sampling.base import is_sdxl, networks
from sampling.guidance import embeds_guidance

SMALLEST_TERMINAL_SNR = 1e-6
"""Below it the last timestep holds no picture: diffusers rescales abar(T) to 0, for some schedulers to 2^-24."""

SIZES_TOLD = 6
"""Height and width three times: the original picture's, the crop's corner, the result's."""


def require_trainable(pipe: Any, *, is_distilled: bool = False) -> None:
    """Refuse a pipeline that is no plain Stable-Diffusion or SDXL base, and say what it is instead.

    With `is_distilled` its U-Net must embed guidance, without it must not.
    """
    _require_text_to_image(pipe)
    _require_distilled(pipe) if is_distilled else _require_undistilled(pipe)
    _require_prediction(pipe)
    _require_sdxl_conditions(pipe) if is_sdxl(pipe) else _require_plain_conditions(pipe)


def has_zero_terminal_snr(scheduler: Any) -> bool:
    """Whether the last timestep is pure noise (Lin et al. 2023, arXiv 2305.08891): alpha(T) = 0.

    There a network that predicts noise says nothing about the picture, x0 = (z - sigma eps) / alpha divides by zero.
    """
    rescaled = bool(scheduler.config.get("rescale_betas_zero_snr", False))
    return rescaled or float(scheduler.alphas_cumprod[-1]) < SMALLEST_TERMINAL_SNR


def give_up_encoders(pipe: Any) -> None:
    """Let the VAE and the text encoders go out of memory; a pipeline that has to paint again is opened anew."""
    for name, network in networks(pipe).items():
        if name != "unet":
            network.to("meta")


def _require_text_to_image(pipe: Any) -> None:
    name, unet, vae = type(pipe).__name__, pipe.unet.config, pipe.vae.config
    if pipe.text_encoder is None:
        raise UnsupportedBase(f"{name}: has no first text encoder, so it is a refiner; use the base that it refines")
    if unet.in_channels != vae.latent_channels:
        raise UnsupportedBase(
            f"{name}: the U-Net takes {unet.in_channels} channels, its VAE makes {vae.latent_channels}; "
            "an inpainting or depth base cannot be trained, use the base that it was made from"
        )
    if vae.get("latents_mean") is not None or vae.get("latents_std") is not None:
        raise UnsupportedBase(f"{name}: its VAE has latents_mean or latents_std, expected a scaling_factor alone")


def _require_undistilled(pipe: Any) -> None:
    if embeds_guidance(pipe.unet):
        name = type(pipe).__name__
        raise UnsupportedBase(f"{name}: the U-Net embeds guidance, so it is distilled already; use the base before it")


def _require_distilled(pipe: Any) -> None:
    if not embeds_guidance(pipe.unet):
        raise UnsupportedBase(
            f"{type(pipe).__name__}: the U-Net embeds no guidance, expected a distilled one; make it with "
            "tau distill lcd, or fine-tune a vector beside an acceleration vector: --acceleration"
        )


def _require_prediction(pipe: Any) -> None:
    name, kind = type(pipe).__name__, pipe.scheduler.config.get("prediction_type")
    if kind not in set(Prediction):
        raise UnsupportedBase(f"{name}: prediction_type is {kind!r}, expected one of {', '.join(Prediction)}")
    if kind == Prediction.epsilon and has_zero_terminal_snr(pipe.scheduler):
        raise UnsupportedBase(
            f"{name}: predicts noise on a schedule whose last timestep is pure noise (rescale_betas_zero_snr), where "
            "x0 = (z - sigma eps) / alpha divides by zero; such a base predicts v: correct prediction_type or the "
            "schedule in scheduler/scheduler_config.json"
        )


def _require_plain_conditions(pipe: Any) -> None:
    config = pipe.unet.config
    for added in ("addition_embed_type", "class_embed_type", "num_class_embeds"):
        if config.get(added) is not None:
            raise UnsupportedBase(
                f"{type(pipe).__name__}: the U-Net wants more than text ({added} is {config[added]!r}), "
                "expected a plain text-to-image base"
            )


def _require_sdxl_conditions(pipe: Any) -> None:
    name, config = type(pipe).__name__, pipe.unet.config
    if config.addition_embed_type != "text_time":
        raise UnsupportedBase(f"{name}: addition_embed_type is {config.addition_embed_type!r}, expected 'text_time'")
    expected = SIZES_TOLD * config.addition_time_embed_dim + pipe.text_encoder_2.config.projection_dim
    if config.projection_class_embeddings_input_dim != expected:
        raise UnsupportedBase(
            f"{name}: the U-Net's added embedding takes {config.projection_class_embeddings_input_dim} numbers, "
            f"pooled text and {SIZES_TOLD} sizes are {expected}; a refiner cannot be trained, use SDXL's base"
        )

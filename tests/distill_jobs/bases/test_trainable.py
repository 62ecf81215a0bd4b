"""What cannot be trained on is refused before the first step, with what it is and what to use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file

from distill_jobs.bases.trainable import has_zero_terminal_snr, require_trainable
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import UnsupportedBase
from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
from distill_jobs.kinds.style import StyleSettings, train_style
from sampling import load_pipeline


@pytest.mark.parametrize("name", ["base", "sdxl_base"])
def test_both_pipelines_are_trainable(name: str, request: pytest.FixtureRequest) -> None:
    require_trainable(request.getfixturevalue(name))


@pytest.mark.parametrize("folder", ["base_folder", "sdxl_folder"])
def test_precision_is_no_reason_to_refuse(folder: str, request: pytest.FixtureRequest) -> None:
    require_trainable(load_pipeline(request.getfixturevalue(folder), dtype=torch.bfloat16))


RESCALED = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerDiscreteScheduler, DPMSolverMultistepScheduler])
def test_noise_cannot_be_predicted_where_nothing_else_is_left(
    fresh_base: StableDiffusionPipeline, scheduler: type
) -> None:
    config = {key: fresh_base.scheduler.config[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    assert not has_zero_terminal_snr(scheduler(**config))
    fresh_base.scheduler = scheduler(**config, **RESCALED)
    assert has_zero_terminal_snr(fresh_base.scheduler)
    with pytest.raises(UnsupportedBase, match=r"last timestep is pure noise .* divides by zero"):
        require_trainable(fresh_base)
    fresh_base.scheduler = scheduler(**config, **RESCALED, prediction_type="v_prediction")
    require_trainable(fresh_base)


def test_a_schedule_that_ends_in_pure_noise_is_noticed_without_its_flag(fresh_base: StableDiffusionPipeline) -> None:
    fresh_base.scheduler = DDIMScheduler(trained_betas=[*np.linspace(1e-4, 0.02, 999), 1.0])
    assert not fresh_base.scheduler.config.rescale_betas_zero_snr
    assert has_zero_terminal_snr(fresh_base.scheduler)


def test_v_prediction_trains_to_the_last_timestep_of_such_a_schedule(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: dict[str, Callable[..., Any]]
) -> None:
    fresh_base.scheduler = DDIMScheduler(**RESCALED, beta_schedule="scaled_linear", prediction_type="v_prediction")
    settings = LcdLoraSettings(rank=2, steps=2, batch=4, num_ddim_timesteps=1)  # its one step starts at 999
    weights = load_file(distil(fresh_base, dataset, settings, folder=tmp_path, **silent))
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert any(value.any() for name, value in weights.items() if "lora_up" in name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda pipe: pipe.unet.register_to_config(in_channels=9), "takes 9 channels, its VAE makes 4"),
        (lambda pipe: pipe.unet.register_to_config(time_cond_proj_dim=256), "distilled already"),
        (lambda pipe: pipe.scheduler.register_to_config(prediction_type="flow"), "prediction_type is 'flow'"),
        (lambda pipe: pipe.vae.register_to_config(latents_mean=[0.0] * 4), "latents_mean or latents_std"),
        (lambda pipe: pipe.unet.register_to_config(num_class_embeds=10), r"num_class_embeds is 10"),
        (lambda pipe: pipe.unet.register_to_config(addition_embed_type="text"), r"addition_embed_type is 'text'"),
    ],
)
def test_other_bases_are_refused(
    fresh_base: StableDiffusionPipeline, change: Callable[[Any], object], says: str
) -> None:
    change(fresh_base)
    with pytest.raises(UnsupportedBase, match=says):
        require_trainable(fresh_base)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda pipe: setattr(pipe, "text_encoder", None), "it is a refiner"),
        (lambda pipe: pipe.unet.register_to_config(addition_embed_type="image"), "expected 'text_time'"),
        (
            lambda pipe: pipe.unet.register_to_config(projection_class_embeddings_input_dim=5 * 8 + 32),
            "takes 72 numbers, pooled text and 6 sizes are 80",
        ),
    ],
)
def test_what_resembles_sdxl_is_refused(
    fresh_sdxl: StableDiffusionXLPipeline, change: Callable[[Any], object], says: str
) -> None:
    change(fresh_sdxl)
    with pytest.raises(UnsupportedBase, match=says):
        require_trainable(fresh_sdxl)


def test_both_trainings_refuse_before_they_touch_anything(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: dict[str, Callable[..., Any]]
) -> None:
    fresh_base.unet.register_to_config(in_channels=9)
    with pytest.raises(UnsupportedBase):
        distil(fresh_base, dataset, LcdLoraSettings(), folder=tmp_path, **silent)
    with pytest.raises(UnsupportedBase):
        train_style(fresh_base, dataset, StyleSettings(), folder=tmp_path, **silent)
    assert list(tmp_path.iterdir()) == []

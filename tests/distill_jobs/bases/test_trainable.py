"""What cannot be trained on is refused before the first step, with what it is and what to use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from distill_jobs.bases.trainable import require_trainable
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import UnsupportedBase
from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
from distill_jobs.kinds.style import StyleSettings, train_style


def test_the_shapes_base_is_trainable(base: StableDiffusionPipeline) -> None:
    require_trainable(base)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda pipe: pipe.unet.register_to_config(in_channels=9), "takes 9 channels, its VAE makes 4"),
        (lambda pipe: pipe.unet.register_to_config(time_cond_proj_dim=256), "distilled already"),
        (lambda pipe: pipe.scheduler.register_to_config(prediction_type="flow"), "prediction_type is 'flow'"),
        (lambda pipe: pipe.unet.to(torch.bfloat16), "loaded as torch.bfloat16"),
        (lambda pipe: setattr(pipe, "text_encoder_2", pipe.text_encoder), "has two text encoders"),
    ],
)
def test_other_bases_are_refused(
    fresh_base: StableDiffusionPipeline, change: Callable[[Any], object], says: str
) -> None:
    change(fresh_base)
    with pytest.raises(UnsupportedBase, match=says):
        require_trainable(fresh_base)


def test_both_trainings_refuse_before_they_touch_anything(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path, silent: dict[str, Callable[..., Any]]
) -> None:
    fresh_base.unet.register_to_config(in_channels=9)
    with pytest.raises(UnsupportedBase):
        distil(fresh_base, dataset, LcdLoraSettings(), folder=tmp_path, **silent)
    with pytest.raises(UnsupportedBase):
        train_style(fresh_base, dataset, StyleSettings(), folder=tmp_path, **silent)
    assert list(tmp_path.iterdir()) == []

"""The bases of the distillation's benchmark have the shapes that they claim, and diffusers' own classes load them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel

from benchmarks.distillation_bases import (
    POSITIONS,
    SD15,
    SDXL,
    Shape,
    narrow,
    write_random_base,
    write_shapes_base,
)
from demo import base_folder


def test_the_shapes_base_says_the_same_of_its_own_tokens_and_has_room_for_77(tmp_path: Path) -> None:
    own = StableDiffusionPipeline.from_pretrained(base_folder(), local_files_only=True)
    longer = StableDiffusionPipeline.from_pretrained(write_shapes_base(tmp_path / "base"), local_files_only=True)
    tokens = own.tokenizer("a red circle", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(longer.text_encoder(tokens)[0], own.text_encoder(tokens)[0], rtol=0, atol=0)
        assert longer.text_encoder(tokens[:, :1].expand(1, POSITIONS))[0].isfinite().all()
    assert longer.tokenizer.model_max_length == POSITIONS


@pytest.mark.parametrize(
    ("shape", "pipeline"), [(SD15, StableDiffusionPipeline), (SDXL, StableDiffusionXLPipeline)], ids=["sd15", "sdxl"]
)
def test_a_narrow_random_base_paints(tmp_path: Path, shape: Shape, pipeline: type) -> None:
    folder = write_random_base(tmp_path / "base", shape.narrowed(8 if shape is SD15 else 16), 64)
    pipe = pipeline.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pictures = pipe("a red circle", num_inference_steps=1, output_type="np").images
    assert pictures.shape == (1, 64, 64, 3)


@pytest.mark.parametrize(("shape", "millions"), [(SD15, 859.5), (SDXL, 2567.5)], ids=["sd15", "sdxl"])
def test_the_unnarrowed_shapes_are_the_true_ones(shape: Shape, millions: float) -> None:
    with torch.device("meta"):
        unet = UNet2DConditionModel(**shape.unet)
    assert sum(value.numel() for value in unet.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_a_width_that_cannot_be_divided_is_refused() -> None:
    assert narrow({"hidden_size": 768, "num_hidden_layers": 12}, 4) == {"hidden_size": 192, "num_hidden_layers": 12}
    with pytest.raises(ValueError, match="block_out_channels: 320 is no multiple of 7"):
        narrow({"block_out_channels": (320, 640)}, 7)


def test_the_weights_are_the_same_ones_each_time(tmp_path: Path) -> None:
    shape = replace(SD15.narrowed(8), texts=())
    first, again = (write_random_base(tmp_path / name, shape, 64) for name in ("first", "again"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [(first / name).read_bytes() for name in files] == [(again / name).read_bytes() for name in files]
    assert json.loads((first / "unet" / "config.json").read_text())["sample_size"] == 8

"""Opening a base: every component in one precision, nothing downloaded, a clear refusal for what is no base."""

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

from sampling import load_pipeline
from sampling.errors import BaseUnreadable


@pytest.fixture
def copied_base(base_folder, tmp_path):
    return shutil.copytree(base_folder, tmp_path / "base")


def test_every_component_is_ready_to_paint(base):
    for network in (base.unet, base.vae, base.text_encoder):
        assert not network.training
        assert {p.dtype for p in network.parameters()} == {torch.float32}
        assert not any(p.requires_grad for p in network.parameters())
    assert base.safety_checker is None
    assert base.tokenizer.model_max_length == 16


def test_half_precision_files_open_in_single_precision(copied_base):
    for network in (UNet2DConditionModel, AutoencoderKL, CLIPTextModel):
        place = copied_base / {"UNet2DConditionModel": "unet", "AutoencoderKL": "vae"}.get(
            network.__name__, "text_encoder"
        )
        network.from_pretrained(place).half().save_pretrained(place)
    pipe = load_pipeline(copied_base)
    for network in (pipe.unet, pipe.vae, pipe.text_encoder):
        assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_the_precision_can_be_chosen(base_folder):
    pipe = load_pipeline(base_folder, dtype=torch.bfloat16)
    assert {network.dtype for network in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.bfloat16}


def test_opening_a_base_prints_nothing(base_folder, capfd):
    load_pipeline(base_folder)
    assert capfd.readouterr() == ("", "")


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(BaseUnreadable, match=r"no model_index\.json there"):
        load_pipeline(tmp_path)


def test_a_base_that_lost_a_component_is_refused(copied_base):
    shutil.rmtree(copied_base / "unet")
    with pytest.raises(BaseUnreadable, match="diffusers cannot open it as a StableDiffusionPipeline"):
        load_pipeline(copied_base)


def test_a_truncated_component_is_refused(copied_base):
    weights = copied_base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BaseUnreadable, match="cannot open it"):
        load_pipeline(copied_base)


def test_pickled_weights_are_not_opened(copied_base):
    for weights in (copied_base / "unet").glob("*.safetensors"):
        torch.save({}, weights.with_suffix(".bin"))
        weights.unlink()
    with pytest.raises(BaseUnreadable, match="cannot open it"):
        load_pipeline(copied_base)


def test_another_kind_of_pipeline_is_refused(copied_base):
    index = copied_base / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "unet": ["diffusers", "NoSuchNetwork"]}))
    with pytest.raises(BaseUnreadable, match="cannot open it"):
        load_pipeline(copied_base)

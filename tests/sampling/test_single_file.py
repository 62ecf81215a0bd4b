"""A base in one file paints what its diffusers folder paints; what it lacks is named."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import init_empty_weights
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file, save_file

from formats import architecture, read_header
from sampling import Checkpoint, configuration_of, load_pipeline, paint, shipped_configuration
from sampling.errors import BaseUnreadable
from sampling.single_file import _empty, _table

HOW = {"solver": "ddim", "steps": 2, "guidance": 3.0, "seeds": [1, 2]}
PROMPTS = ["a large red circle on a white background", "a small blue cross"]
SHIPPED = ("sd15", "sd21", "sdxl", "ssd1b", "vega")


def checkpoint_of(folder: Path, file: Path, **changed) -> Checkpoint:
    configuration = configuration_of(folder, "tiny")
    return Checkpoint(file, configuration, {name: folder / name for name in configuration.tokenizers}, **changed)


@pytest.fixture(scope="module", params=["pipeline_folder", "sdxl_folder"])
def folder(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def file(folder, write_checkpoint, tmp_path_factory) -> Path:
    return write_checkpoint(folder, tmp_path_factory.mktemp("checkpoint") / "all.safetensors")


def pictures(pipe):
    return [np.asarray(image) for image in paint(pipe, PROMPTS, **HOW).images]


def test_it_paints_what_its_folder_paints_with_no_network(folder, file, monkeypatch):
    def refuse(*_):
        raise OSError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    ours, expected = load_pipeline(checkpoint_of(folder, file)), load_pipeline(folder)
    assert all(np.array_equal(a, b) for a, b in zip(pictures(ours), pictures(expected), strict=True))


def test_diffusers_own_reader_finds_the_same_autoencoder(folder, file):
    ours = load_pipeline(checkpoint_of(folder, file))
    state = {key: tensor for key, tensor in load_file(file).items() if key.startswith("first_stage_model.")}
    expected = convert_ldm_vae_checkpoint(state, ours.vae.config)
    found = ours.vae.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key].reshape(found[key].shape)) for key in found)


def test_every_network_is_ready_in_the_asked_precision(folder, file):
    pipe = load_pipeline(checkpoint_of(folder, file), dtype=torch.bfloat16)
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.bfloat16}
    assert not pipe.unet.training
    assert not any(p.requires_grad for p in pipe.text_encoder.parameters())


def test_a_part_that_the_file_lacks_is_named(folder, file, tmp_path):
    state = {key: t for key, t in load_file(file).items() if not key.startswith("first_stage_model.")}
    save_file(state, tmp_path / "no-vae.safetensors")
    with pytest.raises(BaseUnreadable, match=r"no-vae\.safetensors: holds no VAE; .* tau import FOLDER --kind base"):
        load_pipeline(checkpoint_of(folder, tmp_path / "no-vae.safetensors"))


@pytest.mark.parametrize("lost", ["out.2.bias", "first_stage_model.decoder.mid.attn_1.k.weight", "ln_final.weight"])
def test_no_tensor_is_left_at_random(folder, file, tmp_path, lost):
    state = load_file(file)
    found = [key for key in state if key.endswith(lost)] or [next(key for key in state if "final_layer_norm" in key)]
    save_file({key: t for key, t in state.items() if key not in found}, tmp_path / "cut.safetensors")
    with pytest.raises(BaseUnreadable, match=r"cut\.safetensors: "):
        load_pipeline(checkpoint_of(folder, tmp_path / "cut.safetensors"))


def test_a_configuration_of_another_size_is_refused(folder, file):
    checkpoint = checkpoint_of(folder, file)
    other = checkpoint.configuration.changed("unet", block_out_channels=(32, 64))
    with pytest.raises(BaseUnreadable, match=r"all\.safetensors: "):
        load_pipeline(Checkpoint(file, other, checkpoint.tokenizers))


def test_a_vocabulary_that_the_text_encoder_does_not_know_is_refused(folder, file, tmp_path):
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(folder / "tokenizer", tmp_path / name)
        vocabulary = json.loads((tmp_path / name / "vocab.json").read_text())
        grown = {**vocabulary, "ñ": len(vocabulary), "ñ</w>": len(vocabulary) + 1}
        (tmp_path / name / "vocab.json").write_text(json.dumps(grown))
        (tmp_path / name / "tokenizer.json").unlink(missing_ok=True)
    configuration = configuration_of(folder, "tiny")
    tokenizers = {name: tmp_path / name for name in configuration.tokenizers}
    with pytest.raises(BaseUnreadable, match="Take the tokenizer of the base's own family"):
        load_pipeline(Checkpoint(file, configuration, tokenizers))


def test_the_padding_is_the_configurations_not_the_folders(folder, file):
    checkpoint = checkpoint_of(folder, file)
    other = checkpoint.configuration.changed("tokenizer", pad_token="b</w>")
    assert load_pipeline(checkpoint).tokenizer.pad_token != "b</w>"
    assert load_pipeline(Checkpoint(file, other, checkpoint.tokenizers)).tokenizer.pad_token == "b</w>"


@pytest.mark.parametrize("family", SHIPPED)
def test_a_shipped_configuration_builds_exactly_the_modules_of_its_family(family, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "none.safetensors")
    with init_empty_weights(include_buffers=False):
        networks = _empty(shipped_configuration(family), read_header(tmp_path / "none.safetensors"))
    expected = {name: spec.shape for name, spec in architecture(family).modules.items()}
    assert {name: spec.shape for name, spec in _table(networks).modules.items()} == expected
    assert sum(p.numel() for p in networks["vae"].parameters()) == 83_653_863  # the size of the published one


def test_a_unet_that_is_told_its_guidance_is_known_by_its_tensor(folder, file, tmp_path):
    state = load_file(file)
    width = state["model.diffusion_model.time_embed.0.weight"].shape[1]
    state["model.diffusion_model.time_embed.cond_proj.weight"] = torch.zeros(width, 24)
    save_file(state, tmp_path / "told.safetensors")
    assert load_pipeline(checkpoint_of(folder, tmp_path / "told.safetensors")).unet.config.time_cond_proj_dim == 24

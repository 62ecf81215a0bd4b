"""A VAE that overflows in half precision is noticed, said, and used in single precision."""

import copy
import logging
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from distill_jobs.bases.probe import probe_vae, sound_vae
from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import UnsupportedBase
from distill_jobs.material import cache


@pytest.fixture
def pixels(dataset: Dataset) -> torch.Tensor:
    return dataset.pixels(0, 2, (64, 64))


@pytest.fixture
def loud(fresh_base: StableDiffusionPipeline) -> AutoencoderKL:
    """A VAE whose first activations lie beyond 65,504, as some of SDXL's do; normalisations hide that in float32."""
    return _louder(fresh_base.vae, "encoder", 3e5)


def _louder(vae: AutoencoderKL, part: str, factor: float) -> AutoencoderKL:
    loud = copy.deepcopy(vae)
    with torch.no_grad():
        getattr(loud, part).conv_in.weight.mul_(factor)
    return loud


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_an_ordinary_vae_passes_in_every_precision(
    base: StableDiffusionPipeline, pixels: torch.Tensor, dtype: torch.dtype
) -> None:
    found = probe_vae(base.vae, dtype, pixels)
    assert found.passed
    assert str(found) == f"the VAE encodes and decodes in {dtype} without overflow"


@pytest.mark.parametrize(("part", "direction"), [("encoder", "encoding"), ("decoder", "decoding")])
def test_each_direction_is_tried_for_itself(base: StableDiffusionPipeline, part: str, direction: str) -> None:
    loud = _louder(base.vae, part, 1e6)
    found = probe_vae(loud, torch.float16)
    assert (found.encodes, found.decodes) == (part != "encoder", part != "decoder")
    assert str(found) == f"the VAE overflows in torch.float16: {direction} gave numbers that are not finite"
    assert probe_vae(loud, torch.float32).passed
    assert probe_vae(loud, torch.bfloat16).passed


def test_trying_another_precision_leaves_the_vae_as_it_was(base: StableDiffusionPipeline) -> None:
    before = {name: (id(value), value._version) for name, value in base.vae.named_parameters()}
    probe_vae(base.vae, torch.float16)
    assert {name: (id(value), value._version) for name, value in base.vae.named_parameters()} == before


def test_a_sound_vae_is_taken_as_it_is_and_nothing_is_said(base: StableDiffusionPipeline, pixels: torch.Tensor) -> None:
    assert sound_vae(base.vae, pixels, say=pytest.fail) is base.vae


def test_latents_of_a_vae_that_overflows_are_made_in_single_precision_and_that_is_logged(
    fresh_base: StableDiffusionPipeline,
    loud: AutoencoderKL,
    dataset: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fresh_base.vae = loud.half()
    with caplog.at_level(logging.WARNING):
        got = cache.latents(fresh_base, dataset, tmp_path)
    assert "overflows in torch.float16" in caplog.text
    assert "latents are made in float32 instead" in caplog.text
    assert fresh_base.vae.dtype == torch.float16
    fresh_base.vae = copy.deepcopy(loud).float()
    assert torch.equal(got, cache.latents(fresh_base, dataset, tmp_path / "single"))
    assert torch.isfinite(got).all()


def test_a_vae_that_fails_in_single_precision_too_is_refused(
    fresh_base: StableDiffusionPipeline, pixels: torch.Tensor
) -> None:
    with torch.no_grad():
        fresh_base.vae.quant_conv.bias.fill_(float("nan"))
    with pytest.raises(UnsupportedBase, match="in float32 too; the base's VAE is damaged"):
        sound_vae(fresh_base.vae.half(), pixels, say=pytest.fail)

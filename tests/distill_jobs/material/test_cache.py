"""Cached latents and embeddings are what the networks give, and are found again by content alone."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from distill_jobs.data.dataset import Dataset
from distill_jobs.material import cache


def test_latents_are_scaled_posterior_means(base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> None:
    got = cache.latents(base, dataset, tmp_path)
    with torch.no_grad():
        posterior = base.vae.encode(dataset.pixels(3, 4, (64, 64))).latent_dist
    torch.testing.assert_close(got[3:4], posterior.mean * base.vae.config.scaling_factor, rtol=1e-5, atol=1e-5)
    assert got.shape == (10, 4, 8, 8)


def test_embeddings_are_what_the_pipeline_encodes(base: StableDiffusionPipeline, tmp_path: Path) -> None:
    captions = ["", "a large red circle on a white background"]
    with torch.no_grad():
        expected, _ = base.encode_prompt(captions, "cpu", 1, False)
    torch.testing.assert_close(cache.conditions(base, captions, tmp_path).text, expected, rtol=1e-6, atol=1e-6)


def test_what_is_cached_is_read_and_not_computed_again(
    base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    first = cache.latents(base, dataset, tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert torch.equal(cache.latents(base, dataset, tmp_path), first)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_other_weights_or_other_captions_are_other_contents(
    fresh_base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    before = cache.latents(fresh_base, dataset, tmp_path)
    cache.conditions(fresh_base, ["", "a"], tmp_path)
    cache.conditions(fresh_base, ["", "a", "red"], tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    with torch.no_grad():
        fresh_base.vae.quant_conv.bias.add_(1)
        fresh_base.text_encoder.get_input_embeddings().weight.mul_(2)
    cache.conditions(fresh_base, ["", "a"], tmp_path)
    assert not torch.equal(cache.latents(fresh_base, dataset, tmp_path), before)
    assert len(list(tmp_path.iterdir())) == 5

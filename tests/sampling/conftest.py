"""The classes of the shipped base with seeded random weights: small enough to build, save and open in a second."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from demo.training import networks
from sampling import load_pipeline


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with a judge, random weights."""
    folder = tmp_path_factory.mktemp("base")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = networks.write_tokenizer(folder / "tokenizer")
        pipe = StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=networks.unet(),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.save_pretrained(folder)
        networks.judge().save_pretrained(folder / "judge")
    return folder


@pytest.fixture(scope="session")
def base(base_folder: Path) -> StableDiffusionPipeline:
    """The opened base; tests that attach vectors take `fresh_base` instead."""
    return load_pipeline(base_folder)


@pytest.fixture
def fresh_base(base_folder: Path) -> StableDiffusionPipeline:
    """A base of the test's own, to attach vectors to."""
    return load_pipeline(base_folder)


@pytest.fixture(scope="session")
def sdxl_base(sdxl_folder: Path) -> StableDiffusionXLPipeline:
    """The opened tiny SDXL; tests that attach vectors take `fresh_sdxl` instead."""
    return load_pipeline(sdxl_folder)


@pytest.fixture
def fresh_sdxl(sdxl_folder: Path) -> StableDiffusionXLPipeline:
    """A tiny SDXL of the test's own, to change."""
    return load_pipeline(sdxl_folder)

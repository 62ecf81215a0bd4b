"""A base of the real classes with seeded random weights, small enough to train a few steps in a second."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from PIL import Image

from arithmetic import Vector, open_vector
from demo.training import networks
from distill_jobs.adapters import LCD_TARGETS, injected
from distill_jobs.bases.distilled import export_base, student_of, with_unet
from distill_jobs.data.dataset import Dataset, read_dataset
from distill_jobs.export import export
from formats import Layout, architecture_of_folder
from sampling import load_pipeline

CAPTIONS = ("a large red circle", "a small blue square", "a large green cross", "")


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: the text encoder and VAE of the shapes base, and a U-Net with every kind of target."""
    folder = tmp_path_factory.mktemp("base")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = networks.write_tokenizer(folder / "tokenizer")
        StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=small_unet(),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        ).save_pretrained(folder)
    return folder


def small_unet() -> UNet2DConditionModel:
    """0.4 M parameters in the blocks of the shapes base."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        layers_per_block=1,
        cross_attention_dim=networks.WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


@pytest.fixture(scope="session")
def base(base_folder: Path) -> StableDiffusionPipeline:
    """The opened base; training leaves it as it was."""
    return load_pipeline(base_folder)


@pytest.fixture
def fresh_base(base_folder: Path) -> StableDiffusionPipeline:
    """A base of the test's own, to change."""
    return load_pipeline(base_folder)


@pytest.fixture(scope="session")
def sdxl_base(sdxl_folder: Path) -> StableDiffusionXLPipeline:
    """The opened tiny SDXL; training leaves it as it was."""
    return load_pipeline(sdxl_folder)


@pytest.fixture
def fresh_sdxl(sdxl_folder: Path) -> StableDiffusionXLPipeline:
    """A tiny SDXL of the test's own, to change."""
    return load_pipeline(sdxl_folder)


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures of noise with captions in metadata.jsonl."""
    folder = tmp_path_factory.mktemp("data")
    write_pictures(folder, 10)
    rows = [{"file_name": f"{i:02d}.png", "text": CAPTIONS[i % len(CAPTIONS)]} for i in range(10)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder


def write_pictures(folder: Path, count: int) -> None:
    """00.png, 01.png, ...: seeded noise, 64 x 64."""
    rng = np.random.default_rng(0)
    for i in range(count):
        pixels = rng.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")


@pytest.fixture(scope="session")
def dataset(data_folder: Path) -> Dataset:
    """The ten pictures, read."""
    return read_dataset(data_folder)


@pytest.fixture
def silent() -> dict[str, Callable[..., Any]]:
    """A report that nobody reads and a request to stop that never comes."""
    return {"report": lambda progress: None, "cancelled": lambda: None}


@pytest.fixture(scope="session")
def acceleration(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Vector:
    """A vector of seeded random factors on every kind of target, as a file that was written and opened again."""
    pipe = load_pipeline(base_folder)
    with injected(pipe.unet, LCD_TARGETS, rank=2, alpha=3.0, seed=0) as adapter:
        fill(adapter.parameters(), seed=2)
        factors = adapter.factors(adapter.parameters())
    path = export({"unet": factors}, tmp_path_factory.mktemp("vector") / "fast.safetensors", Layout.KOHYA, {})
    return open_vector(path, architecture_of_folder(base_folder, "small"), name="fast")


@torch.no_grad()
def fill(parameters: Mapping[str, torch.nn.Parameter], *, seed: int) -> None:
    """Seeded noise in every parameter."""
    generator = torch.Generator().manual_seed(seed)
    for value in parameters.values():
        value.copy_(0.05 * torch.randn(value.shape, generator=generator))


@pytest.fixture(scope="session")
def distilled_folder(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base with a U-Net that is told its guidance, by a layer of seeded noise."""
    pipe = load_pipeline(base_folder)
    student = with_unet(pipe, student_of(pipe.unet))
    fill({"cond_proj": student.unet.time_embedding.cond_proj.weight}, seed=3)
    return export_base(student, base_folder, tmp_path_factory.mktemp("distilled") / "model", {})


@pytest.fixture(scope="session")
def distilled(distilled_folder: Path) -> StableDiffusionPipeline:
    """That base, opened; training leaves it as it was."""
    return load_pipeline(distilled_folder)

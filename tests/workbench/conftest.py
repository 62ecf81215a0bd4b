"""A registry with two tiny vectors and their base, made of headers and a few numbers: no pipeline is needed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from registry import Registry
from workbench.importing import import_file

SHAPES = {"conv_in": (8, 4, 3, 3), "mid_block.attentions.0.to_q": (8, 8), "mid_block.attentions.0.to_k": (8, 6)}


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """An empty registry."""
    with Registry.open(tmp_path / "home") as opened:
        yield opened


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    """A U-Net of three modules in the layout of a base."""
    folder = tmp_path / "base"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in SHAPES.items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


@pytest.fixture
def vector_file(tmp_path: Path) -> Path:
    """A kohya file of rank 2 for the base."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, (out, *rest) in SHAPES.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = torch.randn(2, *rest, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, 2, *(1 for _ in rest[1:]), generator=generator)
    save_file(tensors, tmp_path / "soft.safetensors")
    return tmp_path / "soft.safetensors"


@pytest.fixture
def stocked(registry: Registry, base_folder: Path, vector_file: Path) -> Registry:
    """The base as `tiny`, the vector as the style `soft` and as the acceleration `fast`."""
    import_file(registry, base_folder, name="tiny")
    import_file(registry, vector_file, name="soft")
    import_file(registry, vector_file, name="fast", kind="acceleration")
    return registry

"""Writes formats/tables/*.json.gz: the module tables of the shipped architectures, built on the meta device.

    python scripts/architecture_tables.py [FOLDER]

Needs torch, diffusers and transformers; no weight is downloaded. The output is the same bytes each time.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from formats.architecture import Architecture, ModuleSpec
from formats.folders import canonical_name

TABLES = Path(__file__).resolve().parent.parent / "formats" / "tables"

SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "sd21": {
        "sample_size": 96,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    "sdxl": SDXL_UNET,
    "ssd1b": {
        **SDXL_UNET,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": (0, (2, 2), (4, 4)),
        "reverse_transformer_layers_per_block": ((4, 4, 10), (2, 1, 1), 0),
    },
    "sdxl-refiner": {
        **SDXL_UNET,
        "block_out_channels": (384, 768, 1536, 1536),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 1280,
        "attention_head_dim": (6, 12, 24, 24),
        "transformer_layers_per_block": 4,
        "projection_class_embeddings_input_dim": 2560,
    },
    "vega": {
        **SDXL_UNET,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": (0, (1, 1), (2, 2)),
        "reverse_transformer_layers_per_block": ((2, 2, 2), (1, 1, 1), 0),
    },
}

CLIP_L = CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
)
OPENCLIP_H = CLIPTextConfig(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, projection_dim=512
)
OPENCLIP_BIG_G = CLIPTextConfig(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280
)


def text_encoders(name: str) -> dict[str, nn.Module]:
    """The text encoders of an architecture, on the meta device."""
    if name == "sd21":
        return {"text_encoder": CLIPTextModel(OPENCLIP_H)}
    if name == "sd15":
        return {"text_encoder": CLIPTextModel(CLIP_L)}
    second = {"text_encoder_2": CLIPTextModelWithProjection(OPENCLIP_BIG_G)}
    return second if name == "sdxl-refiner" else {"text_encoder": CLIPTextModel(CLIP_L), **second}


def modules_of_network(component: str, network: nn.Module) -> dict[str, ModuleSpec]:
    """Every linear, convolution and embedding of `network` with its weight's shape."""
    kinds = {nn.Linear: "linear", nn.Conv2d: "conv", nn.Embedding: "embedding"}
    return {
        f"{component}.{canonical_name(component, name)}": ModuleSpec(kind, tuple(module.weight.shape))
        for name, module in network.named_modules()
        for type_, kind in kinds.items()
        if isinstance(module, type_)
    }


def build(name: str) -> Architecture:
    """The table of one shipped architecture."""
    with torch.device("meta"):
        networks = {"unet": UNet2DConditionModel(**UNETS[name]), **text_encoders(name)}
    modules: dict[str, ModuleSpec] = {}
    for component, network in networks.items():
        modules |= modules_of_network(component, network)
    return Architecture(name, dict(sorted(modules.items())))


def write_tables(folder: Path) -> None:
    """Write one gzipped JSON table an architecture."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in UNETS:
        text = json.dumps(build(name).to_json(), separators=(",", ":")) + "\n"
        (folder / f"{name}.json.gz").write_bytes(gzip.compress(text.encode("ascii"), mtime=0))


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]) if len(sys.argv) > 1 else TABLES)

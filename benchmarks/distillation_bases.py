"""What distillations are timed on: the shapes base as diffusers' scripts can read it, and true shapes at random.

The scripts pad the empty caption to 77 tokens whatever the tokenizer says, so every base here has as many positions.
All have the tokenizer and the noise schedule of the shapes base; random weights lie on the disk in fp16, as published
ones do, so that in fp32 each copy of a network is memory of its own and no mapped file.
"""

import json
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.synthetic import BASE_WEIGHTS, write_weights
from demo import base_folder, write_dataset
from scripts.architecture_tables import SDXL_UNET, UNETS

POSITIONS = 77
TEXT_WEIGHTS = "model.safetensors"
POSITION_KEY = "text_model.embeddings.position_embedding.weight"
TOKENS = {"bos_token_id": 122, "eos_token_id": 123, "pad_token_id": 123}
"""Of the shapes world's tokenizer."""

VAE_CHANNELS = (128, 256, 512, 512)
GROUPS = {"norm_num_groups": 32}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
BIG_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
WIDTHS = (
    "block_out_channels",
    "cross_attention_dim",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
    "norm_num_groups",
    "hidden_size",
    "intermediate_size",
    "projection_dim",
)


@dataclass(frozen=True)
class Shape:
    """The networks of a pipeline: what their constructors are given."""

    pipeline: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    texts: tuple[Mapping[str, Any], ...]

    def narrowed(self, divisor: int) -> "Shape":
        """The same with every width divided, so that the networks' costs keep their proportions."""
        return Shape(
            self.pipeline,
            narrow(self.unet, divisor),
            narrow(self.vae, divisor),
            tuple(narrow(text, divisor) for text in self.texts),
        )


def _vae(scaling_factor: float) -> dict[str, Any]:
    return {
        "block_out_channels": VAE_CHANNELS,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 2,
        **GROUPS,
        "scaling_factor": scaling_factor,
    }


SD15 = Shape("StableDiffusionPipeline", {**UNETS["sd15"], **GROUPS}, _vae(0.18215), (CLIP_L,))
SDXL = Shape(
    "StableDiffusionXLPipeline",
    {**SDXL_UNET, **GROUPS},
    _vae(0.13025),
    ({**CLIP_L, "projection_dim": 768}, {**BIG_G, "projection_dim": 1280, "hidden_act": "gelu"}),
)


def narrow(config: Mapping[str, Any], divisor: int) -> dict[str, Any]:
    """A configuration with its widths divided. Raises ValueError where one is no multiple of `divisor`."""
    return {key: _divided(key, value, divisor) if key in WIDTHS else value for key, value in config.items()}


def write_shapes_base(folder: Path) -> Path:
    """The shapes base with a text encoder of 77 positions, of which the last are like its own last."""
    shutil.copytree(base_folder(), folder, ignore=shutil.ignore_patterns("judge", "training"))
    _write_tokenizer(folder / "tokenizer")
    _edit(folder / "text_encoder" / "config.json", max_position_embeddings=POSITIONS)
    path = folder / "text_encoder" / TEXT_WEIGHTS
    weights = load_file(path)
    own = weights[POSITION_KEY]
    weights[POSITION_KEY] = torch.cat([own, own[-1:].expand(POSITIONS - len(own), -1)]).contiguous()
    save_file(weights, path, {"format": "pt"})
    return folder


def write_random_base(folder: Path, shape: Shape, resolution: int) -> Path:
    """A diffusers folder of `shape` for pictures of `resolution` pixels, its weights random numbers."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**{**shape.unet, "sample_size": resolution // 8})
        vae = AutoencoderKL(**{**shape.vae, "sample_size": resolution})
        texts = [_text_encoder(number, text) for number, text in enumerate(shape.texts)]
    folder.mkdir(parents=True)
    shutil.copytree(base_folder() / "scheduler", folder / "scheduler")
    index: dict[str, Any] = {"_class_name": shape.pipeline, "scheduler": ["diffusers", "DDIMScheduler"]}
    for seed, (name, network, file) in enumerate((("unet", unet, BASE_WEIGHTS), ("vae", vae, BASE_WEIGHTS))):
        network.save_config(folder / name)
        write_weights(folder / name / file, network, seed=seed)
        index[name] = ["diffusers", type(network).__name__]
    for number, network in enumerate(texts):
        index |= _write_text_encoder(folder, "" if number == 0 else f"_{number + 1}", network)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def write_pictures(folder: Path, *, count: int) -> Path:
    """Captioned pictures of the shapes world in folder/pictures, and in folder/pictures.tar as webdataset has them."""
    pictures = write_dataset(folder / "pictures", "flat", count=count, seed=0)
    with tarfile.open(folder / "pictures.tar", "w") as archive:
        for line in (pictures / "metadata.jsonl").read_text().splitlines():
            row = json.loads(line)
            caption = folder / Path(row["file_name"]).with_suffix(".txt")
            caption.write_text(row["text"])
            for path in (pictures / row["file_name"], caption):
                archive.add(path, path.name)
            caption.unlink()
    return pictures


def _text_encoder(number: int, config: Mapping[str, Any]) -> nn.Module:
    kind = CLIPTextModel if number == 0 else CLIPTextModelWithProjection
    network: nn.Module = kind(CLIPTextConfig(**config, **TOKENS, max_position_embeddings=POSITIONS))
    return network


def _write_text_encoder(folder: Path, suffix: str, network: Any) -> dict[str, list[str]]:
    encoder, tokenizer = f"text_encoder{suffix}", f"tokenizer{suffix}"
    network.config.architectures = [type(network).__name__]
    network.config.save_pretrained(folder / encoder)
    write_weights(folder / encoder / TEXT_WEIGHTS, network, seed=2)
    shutil.copytree(base_folder() / "tokenizer", folder / tokenizer)
    _write_tokenizer(folder / tokenizer)
    return {encoder: ["transformers", type(network).__name__], tokenizer: ["transformers", "CLIPTokenizer"]}


def _write_tokenizer(folder: Path) -> None:
    _edit(folder / "tokenizer_config.json", model_max_length=POSITIONS)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}, indent=2))


def _divided(key: str, value: Any, divisor: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_divided(key, each, divisor) for each in value)
    if value % divisor:
        raise ValueError(f"{key}: {value} is no multiple of {divisor}")
    return value // divisor

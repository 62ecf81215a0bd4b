"""The networks of every family on torch's meta device, and how the original code names and stores their parts."""

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

ROOT = Path(__file__).resolve().parents[2]

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Spell = Callable[[str], str]


@cache
def table_script() -> ModuleType:
    """scripts/architecture_tables.py, for the configurations of the networks."""
    spec = importlib.util.spec_from_file_location("architecture_tables", ROOT / "scripts" / "architecture_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def unet(family: str, **changes: Any) -> nn.Module:
    """The U-Net of a family without storage."""
    with torch.device("meta"):
        return UNet2DConditionModel(**{**table_script().UNETS[family], **changes})


@cache
def weights(family: str) -> Shapes:
    """Module -> shape of the weight, of the U-Net's linear layers and convolutions."""
    kinds = nn.Linear | nn.Conv2d
    return {n: tuple(m.weight.shape) for n, m in unet(family).named_modules() if isinstance(m, kinds)}


@cache
def text_weights(family: str, component: str) -> Shapes:
    """Module -> shape of the weight, of a text encoder's linear layers, named from `text_model.` on."""
    with torch.device("meta"):
        network = table_script().text_encoders(family)[component]
    found = {n: tuple(m.weight.shape) for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    return {n if n.startswith("text_") else f"text_model.{n}": shape for n, shape in found.items()}


# How the original code names the parts of a U-Net (kohya's make_unet_conversion_map)


def original(name: str, upsampler_column: int) -> str:
    """The original code's name of a diffusers module; `upsampler_column` is that of the first up block."""
    places = {"conv_in.": "input_blocks.0.0.", "conv_out.": "out.2.", "conv_norm_out.": "out.0."}
    places |= {f"time_embedding.linear_{i}.": f"time_embed.{2 * i - 2}." for i in (1, 2)}
    places |= {"time_embedding.cond_proj.": "time_embed.cond_proj."}
    places |= {f"add_embedding.linear_{i}.": f"label_emb.0.{2 * i - 2}." for i in (1, 2)}
    places |= {"mid_block.attentions.0.": "middle_block.1."}
    places |= {f"mid_block.resnets.{j}.": f"middle_block.{2 * j}." for j in range(2)}
    for i in range(4):
        places[f"down_blocks.{i}.downsamplers.0.conv."] = f"input_blocks.{3 * (i + 1)}.0.op."
        column = upsampler_column if i == 0 else 2
        places[f"up_blocks.{i}.upsamplers.0."] = f"output_blocks.{3 * i + 2}.{column}."
        for j in range(3):
            places[f"down_blocks.{i}.resnets.{j}."] = f"input_blocks.{3 * i + j + 1}.0."
            places[f"down_blocks.{i}.attentions.{j}."] = f"input_blocks.{3 * i + j + 1}.1."
            places[f"up_blocks.{i}.resnets.{j}."] = f"output_blocks.{3 * i + j}.0."
            places[f"up_blocks.{i}.attentions.{j}."] = f"output_blocks.{3 * i + j}.1."
    inside = {"norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "norm2.": "out_layers.0.", "conv2.": "out_layers.3."}
    inside |= {"time_emb_proj.": "emb_layers.1.", "conv_shortcut.": "skip_connection."}
    dotted = f"{name}."
    place = next(place for place in places if dotted.startswith(place))
    rest = dotted[len(place) :]
    rest = inside.get(rest, rest) if ".resnets." in place else rest
    return (places[place] + rest).rstrip(".")


def original_of(family: str) -> Spell:
    """`original` for one family."""
    column = 1 if family in ("sd15", "sd21", "sdxl-refiner") else 2
    return lambda name: original(name, column)


def flat(prefix: str, rename: Spell = str) -> Spell:
    """kohya's spelling: everything in one word after the prefix."""
    return lambda name: f"{prefix}_{rename(name).replace('.', '_')}"


def dotted(prefix: str, rename: Spell = str) -> Spell:
    """A dotted spelling."""
    return lambda name: f"{prefix}.{rename(name)}"


# The parts of a whole checkpoint in one file


def clip_l(prefix: str) -> Shapes:
    """The first text encoder of a checkpoint, in transformers' names."""
    inner = {f"{n}.weight": s for n, s in text_weights("sd15", "text_encoder").items()}
    embeddings = {"token_embedding": (49408, 768), "position_embedding": (77, 768)}
    inner |= {f"text_model.embeddings.{name}.weight": shape for name, shape in embeddings.items()}
    return {f"{prefix}.transformer.{name}": shape for name, shape in inner.items()}


def openclip(prefix: str, width: int, layers: int) -> Shapes:
    """An OpenCLIP text encoder of a checkpoint."""
    keys: Shapes = {"token_embedding.weight": (49408, width), "positional_embedding": (77, width)}
    for i in range(layers):
        at = f"transformer.resblocks.{i}"
        keys |= {f"{at}.attn.in_proj_weight": (3 * width, width), f"{at}.attn.out_proj.weight": (width, width)}
        keys |= {f"{at}.mlp.c_fc.weight": (4 * width, width), f"{at}.mlp.c_proj.weight": (width, 4 * width)}
    return {f"{prefix}.model.{name}": shape for name, shape in keys.items()}


VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3), "first_stage_model.quant_conv.weight": (8, 8, 1, 1)}
ENCODERS: dict[str, Shapes] = {
    "sd15": clip_l("cond_stage_model"),
    "sd21": openclip("cond_stage_model", 1024, 24),
    "sdxl": clip_l("conditioner.embedders.0") | openclip("conditioner.embedders.1", 1280, 32),
    "sdxl-refiner": openclip("conditioner.embedders.0", 1280, 32),
}


def parameters(network: nn.Module, rename: Spell) -> Shapes:
    """Every parameter of `network`, biases and normalisations included."""
    split = ((*name.rpartition(".")[::2], tuple(tensor.shape)) for name, tensor in network.state_dict().items())
    return {f"{rename(module)}.{end}": shape for module, end, shape in split}


def checkpoint(family: str, network: nn.Module) -> Shapes:
    """A whole checkpoint in one file."""
    encoders = ENCODERS.get(family, ENCODERS["sdxl"])
    return parameters(network, dotted("model.diffusion_model", original_of(family))) | encoders | VAE

"""Opens a base that is one file under the names of the original code: nothing is downloaded, no tensor is left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from arithmetic.errors import AlgebraError
from arithmetic.weights import Weights, open_weights
from formats import Architecture, Header, ModuleSpec, TensorSpec, read_header
from formats.checkpoints import missing_parts, unet_prefix
from formats.folders import canonical_name, modules_of
from sampling.autoencoder import original_name
from sampling.errors import BaseUnreadable
from sampling.shipped import Configuration

GUIDANCE_EMBEDDING = "time_embed.cond_proj.weight"
"""Of a U-Net that is told its guidance."""

CLIP_TOKENS = 49408
SAID_BY_DIFFUSERS = ("_class_name", "_diffusers_version", "architectures", "dtype", "torch_dtype", "model_type")


@dataclass(frozen=True)
class Checkpoint:
    """A base in one file, and what it does not hold: how its networks are built, and a folder for each tokenizer."""

    file: Path
    configuration: Configuration
    tokenizers: Mapping[str, Path]


def networks_of(checkpoint: Checkpoint, dtype: torch.dtype) -> dict[str, nn.Module]:
    """U-Net, VAE and text encoders with the file's weights in `dtype`, each tensor of each network accounted for.

    Raises BaseUnreadable for a part that the file lacks, a tensor of another size, one that is missing.
    """
    header = read_header(checkpoint.file)
    if missing := missing_parts(header):
        raise BaseUnreadable(
            f"{checkpoint.file.name}: holds no {' and no '.join(missing)}; it cannot paint by itself. Import a whole "
            "checkpoint or the diffusers folder of the base: tau import FOLDER --kind base"
        )
    with init_empty_weights(include_buffers=False):
        empty = _empty(checkpoint.configuration, header)
    try:
        weights = open_weights(checkpoint.file, _table(empty), name=checkpoint.file.name)
        for component, network in empty.items():
            find = _autoencoder(weights, network) if component == "vae" else _module(weights, component)
            state = {name: _own(find(name), like, dtype, name) for name, like in network.state_dict().items()}
            network.load_state_dict(state, strict=True, assign=True)
    except AlgebraError as error:
        raise BaseUnreadable(f"{checkpoint.file.name}: {error}") from error
    return empty


def assemble(
    checkpoint: Checkpoint, networks: Mapping[str, nn.Module]
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The pipeline of `networks` with the checkpoint's tokenizers and its noise schedule."""
    configuration = checkpoint.configuration
    parts: dict[str, Any] = {
        **networks,
        **{name: _tokenizer(checkpoint, name) for name in configuration.tokenizers},
        "scheduler": DDIMScheduler.from_config(dict(configuration.documents["scheduler"])),
    }
    if "text_encoder_2" in networks:
        return StableDiffusionXLPipeline(**parts, **configuration.documents["pipeline"], add_watermarker=False)
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


def _empty(configuration: Configuration, header: Header) -> dict[str, nn.Module]:
    """The networks without weights; a U-Net that is told its guidance is known by the module that tells it."""
    documents = {name: _plain(document) for name, document in configuration.documents.items()}
    prefix = unet_prefix(header) or ""
    told = header.tensors.get(f"{prefix}{GUIDANCE_EMBEDDING}")
    unet = UNet2DConditionModel(**documents["unet"] | {"time_cond_proj_dim": None if told is None else told.shape[1]})
    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    encoders = {name: kinds[name](CLIPTextConfig(**documents[name])) for name in configuration.text_encoders}
    return {"unet": unet, "vae": AutoencoderKL(**documents["vae"]), **encoders}


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what libraries note about themselves."""
    return {key: value for key, value in document.items() if key not in SAID_BY_DIFFUSERS and not key.startswith("_")}


def _table(networks: Mapping[str, nn.Module]) -> Architecture:
    """The modules that the networks have, under the names that files are looked up by."""
    modules: dict[str, ModuleSpec] = {}
    for component, network in networks.items():
        if component != "vae":
            specs = {name: TensorSpec("F32", tuple(t.shape), 0, 0) for name, t in network.state_dict().items()}
            modules |= modules_of(component, specs)
    return Architecture("the checkpoint's configuration", modules)


def _module(weights: Weights, component: str) -> Callable[[str], Tensor]:
    def find(name: str) -> Tensor:
        canonical = f"{component}.{canonical_name(component, name)}"
        stem = canonical.removesuffix(".weight")
        return weights.weight(stem if stem in weights.architecture.modules else canonical)

    return find


def _autoencoder(weights: Weights, network: nn.Module) -> Callable[[str], Tensor]:
    blocks, file = len(network.config.block_out_channels), weights.files[0]

    def find(name: str) -> Tensor:
        key = original_name(name, blocks)
        if key not in file.header.tensors:
            raise BaseUnreadable(f"{file.path.name}: its VAE has no {key}. Fetch the checkpoint again.")
        return weights.mapped(file.path).tensor(key)

    return find


def _own(stored: Tensor, like: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """A copy of a stored tensor in the shape of the network's; a linear layer may be stored as a 1x1 convolution."""
    if stored.numel() != like.numel() or stored.shape[:2] != like.shape[:2]:
        raise BaseUnreadable(f"{name} is {list(stored.shape)} in the file, expected {list(like.shape)}.")
    return stored.reshape(like.shape).to(dtype, copy=True).contiguous()


def _tokenizer(checkpoint: Checkpoint, name: str) -> CLIPTokenizer:
    """The tokenizer from its folder, told what its configuration says. Raises BaseUnreadable for another vocabulary."""
    folder, told = checkpoint.tokenizers[name], dict(checkpoint.configuration.documents[name])
    own = {key: told[key] for key in ("pad_token", "model_max_length") if isinstance(told.get(key), str | int)}
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True, **own)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BaseUnreadable(f"{folder}: no tokenizer that transformers can open: {error}") from error
    encoder = checkpoint.configuration.documents[name.replace("tokenizer", "text_encoder")]
    if len(tokenizer) > encoder.get("vocab_size", CLIP_TOKENS):
        raise BaseUnreadable(
            f"{folder}: knows {len(tokenizer)} tokens, the text encoder {encoder.get('vocab_size', CLIP_TOKENS)}. "
            "Take the tokenizer of the base's own family."
        )
    return tokenizer

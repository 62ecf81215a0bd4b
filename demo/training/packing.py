"""Writes the shipped base: a diffusers folder of at most 12 MB, all but the text encoder in half precision."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, ResNetForImageClassification

from demo.training.networks import TOKENS, scheduler, write_tokenizer

INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.0",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
LIMIT = 12_000_000
"""Bytes that the folder may take: it travels in the wheel."""


def pack(work: Path, target: Path) -> None:
    """Assemble `target` from the trained parts in `work`; raises RuntimeError when it is larger than 12 MB."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "model_index.json").write_text(json.dumps(INDEX, indent=2) + "\n")
    AutoencoderKL.from_pretrained(work / "vae").to(torch.float16).save_pretrained(target / "vae")
    UNet2DConditionModel.from_pretrained(work / "unet").to(torch.float16).save_pretrained(target / "unet")
    scheduler().save_pretrained(target / "scheduler")
    _pack_text_encoder(work / "text_encoder", target / "text_encoder")
    _pack_tokenizer(target / "tokenizer")
    ResNetForImageClassification.from_pretrained(work / "judge").to(torch.float16).save_pretrained(target / "judge")
    for name in ("autoencoder", "diffusion", "judging"):
        (target / "training").mkdir(exist_ok=True)
        shutil.copyfile(work / name / "log.jsonl", target / "training" / f"{name}.jsonl")
    _forget_folders(target)
    files = [path for path in target.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in files)
    if size > LIMIT:
        raise RuntimeError(f"{target} has {size} bytes; at most {LIMIT} may ship")
    print(f"{target}: {size} bytes")


def pack_velocity(work: Path, target: Path) -> None:
    """Write what tells the base that predicts v from the shipped one: its U-Net in half precision, its scheduler."""
    shutil.rmtree(target, ignore_errors=True)
    network = UNet2DConditionModel.from_pretrained(work / "velocity" / "unet")
    network.to(torch.float16).save_pretrained(target / "unet")
    scheduler("v_prediction").save_pretrained(target / "scheduler")
    (target / "training").mkdir()
    shutil.copyfile(work / "velocity" / "log.jsonl", target / "training" / "velocity.jsonl")
    _forget_folders(target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _forget_folders(target: Path) -> None:
    """Take the trainer's own folders out of the configurations."""
    for path in target.glob("*/config.json"):
        config = json.loads(path.read_text())
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _pack_text_encoder(source: Path, target: Path) -> None:
    """Single precision, keys under `text_model.` as every published Stable Diffusion has them."""
    CLIPTextModel.from_pretrained(source).save_pretrained(target)
    weights = target / "model.safetensors"
    tensors = load_file(weights)
    save_file(
        {f"text_model.{name.removeprefix('text_model.')}": value for name, value in tensors.items()},
        weights,
        metadata={"format": "pt"},
    )


def _pack_tokenizer(target: Path) -> None:
    """vocab.json and merges.txt alone, so that every tokenizer class builds itself from them."""
    write_tokenizer(target)
    settings = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": TOKENS,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")

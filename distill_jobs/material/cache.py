"""What a frozen VAE and a frozen text encoder make of a data set, computed once and kept in files named by content."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distill_jobs.data.dataset import Dataset

ENCODE_BATCH = 32


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of a network's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        contents = value.detach().cpu().contiguous()
        digest.update(f"{name} {contents.dtype} {tuple(contents.shape)}\n".encode())
        digest.update(contents.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def picture_size(pipe: Any) -> tuple[int, int]:
    """(height, width) in pixels that the base was made for."""
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return height * pipe.vae_scale_factor, width * pipe.vae_scale_factor


def latents(pipe: Any, dataset: Dataset, folder: Path) -> Tensor:
    """The scaled mean latent of every picture, (count, C, h, w) float32, in the order of the data set."""
    size = picture_size(pipe)
    key = _key("latents", dataset.fingerprint, weights_digest(pipe.vae), pipe.vae.config.scaling_factor, size)
    return _cached(folder / f"latents-{key}.safetensors", lambda: _encode_pictures(pipe, dataset, size))


def embeddings(pipe: Any, captions: Sequence[str], folder: Path) -> Tensor:
    """The text encoder's last hidden state of every caption, (count, tokens, width) float32."""
    tokens = token_ids(pipe, captions)
    key = _key("embeddings", tokens.tolist(), weights_digest(pipe.text_encoder))
    return _cached(folder / f"embeddings-{key}.safetensors", lambda: _encode_tokens(pipe, tokens))


def distinct(captions: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """The empty caption followed by the distinct other ones (sorted), and the index of each caption among them."""
    known = ("", *sorted(set(captions) - {""}))
    place = {caption: i for i, caption in enumerate(known)}
    return known, torch.tensor([place[caption] for caption in captions])


@torch.no_grad()
def _encode_pictures(pipe: Any, dataset: Dataset, size: tuple[int, int]) -> Tensor:
    batches = []
    for start in range(0, len(dataset.entries), ENCODE_BATCH):
        pixels = dataset.pixels(start, start + ENCODE_BATCH, size).to(pipe.vae.dtype)
        mean = pipe.vae.encode(pixels).latent_dist.mean
        batches.append((mean * pipe.vae.config.scaling_factor).float())
    return torch.cat(batches)


@torch.no_grad()
def _encode_tokens(pipe: Any, tokens: Tensor) -> Tensor:
    batches = [pipe.text_encoder(batch)[0] for batch in tokens.split(ENCODE_BATCH)]
    return torch.cat(batches).float()


def token_ids(pipe: Any, captions: Sequence[str]) -> Tensor:
    """(count, tokens) int64: captions padded and cut to the tokenizer's length, as the pipeline itself does."""
    length = pipe.tokenizer.model_max_length
    batch = pipe.tokenizer(
        list(captions), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )
    return batch.input_ids


def _cached(path: Path, compute: Callable[[], Tensor]) -> Tensor:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({"value": compute().contiguous()}, partial)
        partial.replace(path)
    return load_file(path)["value"]


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]

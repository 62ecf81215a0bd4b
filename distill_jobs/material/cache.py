"""What a frozen VAE and frozen text encoders make of a data set, computed once and kept in files named by content."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distill_jobs.bases.conditioning import Condition, Tokens, encoded_rows, token_ids
from distill_jobs.bases.probe import sound_vae
from distill_jobs.data.dataset import Dataset
from sampling.base import empty_prompt_is_zeros, is_sdxl, picture_size, text_encoders

ENCODE_BATCH = 32
"""Captions, or pictures of at most 512 x 512, that are encoded at once."""
ENCODE_PIXELS = ENCODE_BATCH * 512 * 512
"""Pixels that are encoded at once: 8 pictures of 1024 x 1024."""

LOG = logging.getLogger(__name__)


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of a network's state dict."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        contents = value.detach().cpu().contiguous()
        digest.update(f"{name} {contents.dtype} {tuple(contents.shape)}\n".encode())
        digest.update(contents.flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def latents(pipe: Any, dataset: Dataset, folder: Path) -> Tensor:
    """The scaled mean latent of every picture, (count, C, h, w) float32 on the CPU, in the order of the data set.

    Encoded in the dtype that the VAE was opened in, or in float32 (which is logged) where that overflows.
    """
    size = picture_size(pipe)
    key = _key("latents", dataset.fingerprint, weights_digest(pipe.vae), pipe.vae.config.scaling_factor, size)
    kept = _cached(folder / f"latents-{key}.safetensors", lambda: {"value": _encode_pictures(pipe, dataset, size)})
    return kept["value"]


def conditions(pipe: Any, captions: Sequence[str], folder: Path) -> Condition:
    """What the base is told of every caption, float32 on the CPU, a row each, without time ids.

    Row 0 is what its pipeline guides away from, whatever the first caption: `captions` begin with "".
    """
    tokens = token_ids(pipe, captions)
    digests = [weights_digest(encoder) for encoder in text_encoders(pipe).values()]
    key = _key("conditions", [own.tolist() for own in tokens], digests, empty_prompt_is_zeros(pipe))
    kept = _cached(folder / f"conditions-{key}.safetensors", lambda: _encode_tokens(pipe, tokens))
    return Condition(kept["text"], kept.get("pooled"))


@torch.no_grad()
def _encode_pictures(pipe: Any, dataset: Dataset, size: tuple[int, int]) -> Tensor:
    batch = max(1, min(ENCODE_BATCH, ENCODE_PIXELS // (size[0] * size[1])))
    vae, batches = pipe.vae, []
    for start in range(0, len(dataset.entries), batch):
        pixels = dataset.pixels(start, start + batch, size)
        if start == 0:
            vae = sound_vae(pipe.vae, pixels[:4], say=LOG.warning)
        mean = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mean
        batches.append((mean * vae.config.scaling_factor).float().cpu())
    return torch.cat(batches)


@torch.no_grad()
def _encode_tokens(pipe: Any, tokens: Tokens) -> dict[str, Tensor]:
    """text (Q, L, D) and, for SDXL, pooled (Q, P)."""
    parts = [encoded_rows(pipe, tokens, rows) for rows in torch.arange(len(tokens[0])).split(ENCODE_BATCH)]
    rows = {"text": torch.cat([part.text for part in parts]).float().cpu()}
    if is_sdxl(pipe):
        rows["pooled"] = torch.cat([part.pooled for part in parts]).float().cpu()
    return rows


def _cached(path: Path, compute: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({name: value.contiguous() for name, value in compute().items()}, partial)
        partial.replace(path)
    return load_file(path)


def _key(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()[:32]

"""How many bytes a painting takes, from the shapes of the networks alone: nothing is loaded, nothing is run. No torch.

The numbers of elements that are alive at once follow from diffusers' code: in a U-Net the skip connections, and what
the widest block works on; in a VAE the three tensors of the last block but one at the picture's own size. Attention is
computed in blocks and takes no matrix, but on devices where it does (`attends_whole`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

MARGIN = 1.3
"""Times what is alive: convolutions work on copies, and allocators keep gaps. Measured at SD-1.5's shape on a CPU."""

TILE = 512
"""Pixels a side of the tiles that a VAE decodes one at a time where it is tiled."""

SLICED_FROM = 256
"""VAEs made for pictures of this side or larger decode them one by one: a batch would gain nothing there."""

LATENT_PIXELS = 8
FEED_FORWARD = 22
"""Tensors of a transformer block's width that are alive in its gated feed-forward layer, which is eight wide."""

RESNET = 3.5
"""Tensors of the joined width that are alive in a ResNet block of the upward half."""

DECODER = 3.05
"""Tensors of the last block but one that are alive while it makes the last but one narrower."""

CLIP_TEXT_BYTES = 64 << 20
"""Of a batch of prompts in a text encoder: little beside its weights."""


@dataclass(frozen=True)
class Footprint:
    """A base in one precision: the bytes of each component's weights, and the configurations of U-Net and VAE."""

    weights: Mapping[str, int]
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    itemsize: int
    vae_itemsize: int
    largest_module: int
    """Bytes of the largest single layer: all that is there at a time where each is brought when it is needed."""

    @property
    def own_size(self) -> tuple[int, int]:
        """(height, width) in pixels that the base was made for."""
        side = self.unet.get("sample_size") or 64
        height, width = (side, side) if isinstance(side, int) else side
        factor = 2 ** (len(self.vae["block_out_channels"]) - 1)
        return height * factor, width * factor

    def beside(self, vector_bytes: int) -> "Footprint":
        """The same with vectors on the U-Net."""
        return replace(self, weights={**self.weights, "unet": self.weights["unet"] + vector_bytes})

    def resident(self, offload: str) -> int:
        """Bytes that stay on the device between two paintings."""
        return sum(self.weights.values()) if offload == "none" else 0

    def painting(
        self, batch: int, size: tuple[int, int], *, guided: bool, offload: str, tiled: bool, attends_whole: bool = False
    ) -> int:
        """Bytes at the peak of painting `batch` pictures of (height, width) pixels at a time."""
        denoising = self._denoising(batch * (2 if guided else 1), size, attends_whole=attends_whole)
        is_sliced = tiled or self.vae.get("sample_size", 0) >= SLICED_FROM
        decoding = self._decoding(1 if is_sliced else batch, size, tiled=tiled, attends_whole=attends_whole)
        texts = max((self.weights[name] for name in self.weights if name.startswith("text_encoder")), default=0)
        match offload:
            case "none":
                return sum(self.weights.values()) + max(denoising, decoding)
            case "model":
                stages = (self.weights["unet"] + denoising, self.weights["vae"] + decoding, texts + CLIP_TEXT_BYTES)
                return max(stages)
            case _:
                return self.largest_module + max(denoising, decoding)

    def _denoising(self, rows: int, size: tuple[int, int], *, attends_whole: bool) -> int:
        area = prod(size) // LATENT_PIXELS**2
        matrix = unet_attention_elements(self.unet, area) if attends_whole else 0
        return int(MARGIN * self.itemsize * rows * (unet_elements(self.unet) * area + matrix))

    def _decoding(self, batch: int, size: tuple[int, int], *, tiled: bool, attends_whole: bool) -> int:
        at_once = prod(min(side, TILE) for side in size) if tiled else prod(size)
        matrix = (at_once // LATENT_PIXELS**2) ** 2 if attends_whole else 0
        kept = 2 * 3 * prod(size) if tiled else 0
        return int(MARGIN * self.vae_itemsize * batch * (vae_elements(self.vae) * at_once + matrix + kept))


def unet_elements(config: Mapping[str, Any]) -> float:
    """Elements alive at once in a U-Net's forward pass, a latent pixel and row of the batch."""
    widths, layers = config["block_out_channels"], config.get("layers_per_block", 2)
    attends = ["CrossAttn" in kind for kind in config["down_block_types"]]
    attends_up = ["CrossAttn" in kind for kind in reversed(config["up_block_types"])]
    skips, work = float(widths[0]), 0.0
    for level, width in enumerate(widths):
        here = 4.0**-level
        skips += layers * width * here + (width * here / 4 if level < len(widths) - 1 else 0)
        joined = width + widths[min(level + 1, len(widths) - 1)]
        work = max(work, RESNET * joined * here)
        if attends[level] or attends_up[level]:
            work = max(work, FEED_FORWARD * width * here)
    return skips + work


def unet_attention_elements(config: Mapping[str, Any], area: int) -> int:
    """Elements of the largest self-attention matrix over `area` latent pixels, a row of the batch."""
    attends = [i for i, kind in enumerate(config["down_block_types"]) if "CrossAttn" in kind]
    if not attends:
        return 0
    level = attends[0]
    heads = config.get("attention_head_dim", 8)
    return int((heads[level] if isinstance(heads, list | tuple) else heads) * (area // 4**level) ** 2)


def vae_elements(config: Mapping[str, Any]) -> float:
    """Elements alive at once in a VAE's decoder, a pixel of the picture."""
    widths = config["block_out_channels"]
    inside = [widths[min(level + 1, len(widths) - 1)] for level in range(len(widths))]
    return max(DECODER * width * 4.0**-level for level, width in enumerate(inside))


def spelled(count: int) -> str:
    """Bytes for people: 3.2 GiB, 640 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"

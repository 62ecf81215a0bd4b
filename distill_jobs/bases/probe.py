"""Whether a VAE can work in the precision that it was opened in: SDXL's overflows in float16."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distill_jobs.errors import UnsupportedBase

PROBE_SEED = 0


@dataclass(frozen=True)
class VaeProbe:
    """What came of encoding and decoding a few pictures in `dtype`: whether every number was finite."""

    dtype: torch.dtype
    encodes: bool
    decodes: bool

    @property
    def passed(self) -> bool:
        """Whether both directions stayed finite."""
        return self.encodes and self.decodes

    def __str__(self) -> str:
        if self.passed:
            return f"the VAE encodes and decodes in {self.dtype} without overflow"
        failed = " and ".join(n for n, ok in (("encoding", self.encodes), ("decoding", self.decodes)) if not ok)
        return f"the VAE overflows in {self.dtype}: {failed} gave numbers that are not finite"


@torch.no_grad()
def probe_vae(vae: Any, dtype: torch.dtype, pixels: Tensor | None = None) -> VaeProbe:
    """Encode `pixels` (N, 3, h, w) in [-1, 1] and noise of their size in `dtype`, and decode what came of it.

    `vae` is left as it is; another dtype than its own is tried on a copy. Without pixels, noise of the size that the
    VAE was made for.
    """
    tried = vae if vae.dtype == dtype else copy.deepcopy(vae).to(dtype)
    noise = _noise(vae) if pixels is None else _like(pixels)
    pictures = noise if pixels is None else torch.cat([pixels, noise])
    latents = tried.encode(pictures.to(tried.device, dtype)).latent_dist.mean
    encodes = _finite(latents)
    fallback = torch.nan_to_num(latents, posinf=0, neginf=0) if not encodes else latents
    return VaeProbe(dtype, encodes, _finite(tried.decode(fallback, return_dict=False)[0]))


def sound_vae(vae: Any, pixels: Tensor, *, say: Callable[[str], object]) -> Any:
    """`vae` where it stays finite on `pixels` in its own dtype; otherwise a copy of it in float32, and `say` tells so.

    Raises UnsupportedBase where float32 overflows as well: then the weights themselves are at fault.
    """
    found = probe_vae(vae, vae.dtype, pixels)
    if found.passed:
        return vae
    if vae.dtype is torch.float32 or not probe_vae(vae, torch.float32, pixels).passed:
        raise UnsupportedBase(f"{found}, in float32 too; the base's VAE is damaged, replace it")
    say(f"{found}; latents are made in float32 instead")
    return copy.deepcopy(vae).float()


def _noise(vae: Any) -> Tensor:
    size = vae.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return _like(torch.empty(1, vae.config.in_channels, height, width))


def _like(pixels: Tensor) -> Tensor:
    """Noise (1, 3, h, w), clipped to the range of pictures."""
    generator = torch.Generator().manual_seed(PROBE_SEED)
    return torch.randn(pixels[:1].shape, generator=generator).clamp(-1, 1).to(pixels.device)


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())

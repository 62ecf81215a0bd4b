"""Opens a base, a diffusers folder or one file, as a Stable-Diffusion or SDXL pipeline that is ready to paint."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.utils import logging as diffusers_logging
from torch import nn
from transformers.utils import logging as transformers_logging

from sampling.errors import BaseUnreadable
from sampling.placement import Placement, apply
from sampling.shipped import INDEX
from sampling.single_file import Checkpoint, assemble, networks_of
from sampling.warnings import known_warnings_silenced

Pipeline = StableDiffusionPipeline | StableDiffusionXLPipeline
"""What paints: SD-1.x and SD-2.x are the first, SDXL and SSD-1B (an SDXL with a smaller U-Net) the second."""


def load_pipeline(
    place: Path | Checkpoint,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    chosen: Placement | None = None,
) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """The base at `place`, a folder or one file, in `dtype` on `device`, ready to paint, without safety checker.

    `chosen` says what of it stays on the device, whether the VAE decodes in tiles and how many pictures are painted at
    once; by default all of it, whole, and many. Nothing is downloaded. On a CPU use float32: half precision is emulated
    there. Asked for float16, SDXL's VAE stays in float32 where its configuration says that it overflows (force_upcast).

    Raises BaseUnreadable when nothing is there, it is no base of these two kinds, or one that paints over pictures.
    """
    with known_warnings_silenced(), progress_bars_off():
        pipe = _of_file(place, dtype) if isinstance(place, Checkpoint) else _of_folder(Path(place), dtype)
    _require_painter(pipe, place.file if isinstance(place, Checkpoint) else Path(place))
    pipe.set_progress_bar_config(disable=True)
    if dtype is torch.float16 and overflows_in_half(pipe):
        pipe.vae.float()
    for network in networks(pipe).values():
        network.eval().requires_grad_(False)
    apply(pipe, chosen or Placement(), device)
    return pipe


def networks(pipe: Pipeline) -> dict[str, nn.Module]:
    """The networks of a base by the names of their folders: unet, vae, text_encoder, and SDXL's text_encoder_2."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {name: network for name in names if (network := getattr(pipe, name, None)) is not None}


def text_encoders(pipe: Pipeline) -> dict[str, nn.Module]:
    """The text encoders of a base by the names that files use: text_encoder, and SDXL's text_encoder_2."""
    return {name: network for name, network in networks(pipe).items() if name.startswith("text_encoder")}


def picture_size(pipe: Pipeline) -> tuple[int, int]:
    """(height, width) in pixels that the base was made for."""
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return height * pipe.vae_scale_factor, width * pipe.vae_scale_factor


def is_sdxl(pipe: Pipeline) -> bool:
    """Whether the base is told by two text encoders, with pooled text and sizes added (SDXL, SSD-1B)."""
    return getattr(pipe, "text_encoder_2", None) is not None


def empty_prompt_is_zeros(pipe: Pipeline) -> bool:
    """Whether guidance leads away from zeros in place of the encoded empty prompt."""
    return is_sdxl(pipe) and bool(pipe.config.force_zeros_for_empty_prompt)


def overflows_in_half(pipe: Pipeline) -> bool:
    """Whether the VAE has to stay in float32."""
    return is_sdxl(pipe) and bool(pipe.vae.config.force_upcast)


def _of_folder(folder: Path, dtype: torch.dtype) -> Pipeline:
    kind = _pipeline_class(folder)
    own: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
    if kind is StableDiffusionXLPipeline:
        own = {"add_watermarker": False}
    try:
        return kind.from_pretrained(str(folder), dtype=dtype, local_files_only=True, use_safetensors=True, **own)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BaseUnreadable(f"{folder}: diffusers cannot open it as a {kind.__name__}: {error}") from error


def _of_file(checkpoint: Checkpoint, dtype: torch.dtype) -> Pipeline:
    try:
        return assemble(checkpoint, networks_of(checkpoint, dtype))
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise BaseUnreadable(f"{checkpoint.file}: cannot be opened as a base: {error}") from error


def _require_painter(pipe: Pipeline, place: Path) -> None:
    """Raise BaseUnreadable for a U-Net that reads a picture, a mask or a depth beside the latents."""
    reads, latents = pipe.unet.config.in_channels, pipe.vae.config.latent_channels
    if reads != latents:
        raise BaseUnreadable(
            f"{place}: its U-Net reads {reads} channels, the VAE gives {latents}: it paints over a picture that it is "
            "shown (inpainting, depth, instructions). Take the base that it was made from."
        )


def _pipeline_class(folder: Path) -> type[StableDiffusionPipeline] | type[StableDiffusionXLPipeline]:
    """Which pipeline a folder's index describes, by its text encoders."""
    path = folder / INDEX
    if not path.is_file():
        raise BaseUnreadable(f"{folder}: no {INDEX} there. A base is a diffusers folder; import one first.")
    try:
        index = json.loads(path.read_text("utf-8"))
        present = [(index.get(name) or [None])[0] is not None for name in ("text_encoder", "text_encoder_2")]
    except (OSError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise BaseUnreadable(f"{path}: not the index of a diffusers folder: {error!r}. Fetch it again.") from error
    if present == [False, True]:
        raise BaseUnreadable(f"{folder}: an SDXL refiner, which only repaints. Take the base that it refines.")
    return StableDiffusionXLPipeline if all(present) else StableDiffusionPipeline


@contextmanager
def progress_bars_off() -> Iterator[None]:
    """Opening a base takes a second or two: the libraries' bars would only break up the caller's own output."""
    shown = [library for library in (diffusers_logging, transformers_logging) if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()

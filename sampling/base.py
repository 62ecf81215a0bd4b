"""Opens a base: a diffusers folder as a StableDiffusionPipeline that is ready to paint."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from sampling.errors import BaseUnreadable
from sampling.warnings import known_warnings_silenced


def load_pipeline(
    folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> StableDiffusionPipeline:
    """The pipeline in `folder`, every component in `dtype` on `device`, in evaluation mode, without safety checker.

    Nothing is downloaded. On a CPU use float32: half precision is emulated there.

    Raises BaseUnreadable when the folder is missing or holds no StableDiffusionPipeline.
    """
    if not (Path(folder) / "model_index.json").is_file():
        raise BaseUnreadable(f"{folder}: no model_index.json there. A base is a diffusers folder; import one first.")
    try:
        with known_warnings_silenced(), progress_bars_off():
            pipe = StableDiffusionPipeline.from_pretrained(
                str(folder),
                dtype=dtype,
                safety_checker=None,
                requires_safety_checker=False,
                local_files_only=True,
                use_safetensors=True,
            )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BaseUnreadable(f"{folder}: diffusers cannot open it as a StableDiffusionPipeline: {error}") from error
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    for network in (pipe.unet, pipe.vae, pipe.text_encoder):
        network.eval().requires_grad_(False)
    return pipe


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

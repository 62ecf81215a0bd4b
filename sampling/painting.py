"""Paints: prompts and seeds to latents and pictures, one flat denoising loop for every solver.

Every random number of a picture comes from a CPU generator seeded with that picture's own seed: first x_T, then the
fresh noise of each step. So a picture does not depend on its batch, its place in a grid or the device, and it is the
one that the plain diffusers pipeline paints with `generator=[torch.Generator().manual_seed(seed)]`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from sampling.errors import Cancelled, UnsupportedSetting
from sampling.prompts import embed
from sampling.solvers import check_settings, find_solver, make_scheduler
from sampling.warnings import known_warnings_silenced

OnStep = Callable[[int, int], None]
"""Called after each denoising step with (steps done, steps in all), over all batches."""

StopAsked = Callable[[], object]
"""Asked before each denoising step; anything true (a reason, say) stops the painting with Cancelled."""


@dataclass(frozen=True)
class Painting:
    """Pictures, the latents (N, channels, height, width) they were decoded from, and what they cost.

    `evaluations` counts the U-Net evaluations of one picture (guidance above 1 costs two a step);
    `seconds` is the wall time of all of them; `settings` repaints them.
    """

    images: list[Image.Image]
    latents: Tensor
    evaluations: int
    seconds: float
    settings: dict[str, Any]


def noise_for(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """x_T of each seed: (len(seeds), *shape) float32 on the CPU; row i depends on seeds[i] alone."""
    return _draw(_generators(seeds), shape)


def evaluations_of(steps: int, guidance: float) -> int:
    """U-Net evaluations of one picture: the conditional one a step, and the unconditional one if guided."""
    return steps * (2 if guidance > 1 else 1)


def paint(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    *,
    solver: str,
    steps: int,
    guidance: float,
    seeds: Sequence[int],
    spacing: str = "trailing",
    eta: float = 0.0,
    batch: int = 48,
    on_step: OnStep | None = None,
    cancelled: StopAsked | None = None,
) -> Painting:
    """One picture for each (prompt, seed) pair, at most `batch` at a time.

    Raises UnknownSolver, UnsupportedSetting, and Cancelled between two denoising steps.
    """
    settings = {
        "solver": solver,
        "steps": steps,
        "guidance": guidance,
        "spacing": spacing,
        "eta": eta,
    }
    began = time.perf_counter()
    latents = denoise(pipe, prompts, seeds=seeds, batch=batch, on_step=on_step, cancelled=cancelled, **settings)
    images = decode(pipe, latents, batch=batch)
    return Painting(
        images=images,
        latents=latents,
        evaluations=evaluations_of(steps, guidance),
        seconds=time.perf_counter() - began,
        settings={**settings, "prompts": list(prompts), "seeds": list(seeds), "versions": _versions()},
    )


@torch.no_grad()
def denoise(
    pipe: StableDiffusionPipeline,
    prompts: Sequence[str],
    *,
    solver: str,
    steps: int,
    guidance: float,
    seeds: Sequence[int],
    spacing: str = "trailing",
    eta: float = 0.0,
    batch: int = 48,
    on_step: OnStep | None = None,
    cancelled: StopAsked | None = None,
) -> Tensor:
    """The endpoints z_0 of each (prompt, seed) pair: (N, channels, height, width), scaled as the U-Net sees them."""
    _check(solver, steps, guidance, spacing, eta, prompts, seeds, batch)
    text = embed(pipe, prompts)
    blank = embed(pipe, [""]) if guidance > 1 else None
    total, done, finished = steps * -(-len(seeds) // batch), 0, []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        scheduler = make_scheduler(solver, pipe.scheduler.config, spacing=spacing)
        with known_warnings_silenced():
            scheduler.set_timesteps(steps, device=pipe.device)
        generators = _generators(seeds[part])
        arguments = find_solver(solver).step_arguments(eta, generators)
        latents = _draw(generators, latent_shape(pipe)).to(pipe.device, pipe.unet.dtype) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            _stop_if_asked(cancelled, done, total)
            seen = scheduler.scale_model_input(latents, t)
            predicted = _predict(pipe, seen, t, text[part], blank, guidance)
            latents = scheduler.step(predicted, t, latents, **arguments, return_dict=False)[0]
            done += 1
            if on_step is not None:
                on_step(done, total)
        finished.append(latents)
    return torch.cat(finished)


@torch.no_grad()
def decode(pipe: StableDiffusionPipeline, latents: Tensor, *, batch: int = 48) -> list[Image.Image]:
    """Latents (N, channels, height, width) to N pictures, through the pipeline's VAE."""
    images: list[Image.Image] = []
    for part in latents.split(batch):
        pixels = pipe.vae.decode(part / pipe.vae.config.scaling_factor, return_dict=False)[0]
        images += pipe.image_processor.postprocess(pixels, output_type="pil")
    return images


def latent_shape(pipe: StableDiffusionPipeline) -> tuple[int, int, int]:
    """(channels, height, width) of one picture's latents at the base's own size."""
    size = pipe.unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return pipe.unet.config.in_channels, height, width


def _predict(
    pipe: StableDiffusionPipeline, seen: Tensor, t: Tensor, text: Tensor, blank: Tensor | None, guidance: float
) -> Tensor:
    """The U-Net's output; guided, u + guidance * (c - u) with both halves in one batch (Ho and Salimans 2022)."""
    if blank is None:
        return pipe.unet(seen, t, encoder_hidden_states=text, return_dict=False)[0]
    both = torch.cat([blank.expand_as(text), text])
    unconditional, conditional = pipe.unet(torch.cat([seen, seen]), t, encoder_hidden_states=both, return_dict=False)[
        0
    ].chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def _generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _draw(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators])


def _stop_if_asked(cancelled: StopAsked | None, done: int, total: int) -> None:
    if cancelled is not None and (reason := cancelled()):
        why = f": {reason}" if isinstance(reason, str) else ""
        raise Cancelled(f"painting stopped after {done} of {total} denoising steps{why}")


def _check(
    solver: str,
    steps: int,
    guidance: float,
    spacing: str,
    eta: float,
    prompts: Sequence[str],
    seeds: Sequence[int],
    batch: int,
) -> None:
    check_settings(find_solver(solver), steps=steps, spacing=spacing, eta=eta)
    if not 1 <= guidance < float("inf"):
        raise UnsupportedSetting(f"guidance must be at least 1 (which means none) and finite, got {guidance}.")
    if isinstance(prompts, str) or len(prompts) != len(seeds) or not seeds:
        raise UnsupportedSetting(
            f"a painting takes one prompt for each seed, at least one; got {len(prompts)} prompts, {len(seeds)} seeds."
        )
    if batch < 1:
        raise UnsupportedSetting(f"batch must be at least 1, got {batch}.")


def _versions() -> dict[str, str]:
    return {"torch": torch.__version__, "diffusers": diffusers.__version__}

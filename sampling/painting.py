"""Paints: prompts and seeds to latents and pictures, one flat denoising loop for every solver.

Every random number of a picture comes from a CPU generator seeded with that picture's own seed: first the VAE's choice
where it begins with another picture, then x_T, then the fresh noise of each step. So a picture does not depend on its
batch, its place in a grid or the device: in float32, its latents to 1e-4 and each channel of its pixels to one level of
255, which is what sums in another order change. It is the one that the plain diffusers pipeline paints with
`generator=[torch.Generator().manual_seed(seed)]`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from sampling.base import Pipeline, picture_size
from sampling.beginnings import beginning, encoded, generators_of
from sampling.conditioning import Condition
from sampling.errors import Cancelled, UnsupportedSetting
from sampling.guidance import embeds_guidance, timestep_condition
from sampling.placement import at_once, circumstances, device_of, precision_of
from sampling.prompts import embed, unconditional
from sampling.settings import Settings
from sampling.software import machine, software
from sampling.solvers import find_solver

OnStep = Callable[[int, int], None]
"""Called after each denoising step with (steps done, steps in all), over all batches."""

Trace = Callable[[Tensor, Tensor], None]
"""Called before each denoising step with its timestep and the batch's z, batch after batch."""

StopAsked = Callable[[], object]
"""Asked before each denoising step; anything true (a reason, say) stops the painting with Cancelled."""


@dataclass(frozen=True)
class Painting:
    """Pictures, the latents (N, channels, height, width) they were decoded from, and what they cost.

    `evaluations` counts the U-Net evaluations of one picture (guidance above 1 costs two a step, unless the U-Net is
    told its guidance);
    `seconds` is the wall time of all of them; `settings` repaints them.
    """

    images: list[Image.Image]
    latents: Tensor
    evaluations: int
    seconds: float
    settings: dict[str, Any]
    batch: int = 48
    """At most so many were painted at once."""
    machine: dict[str, str | int] = field(default_factory=dict)
    """Where it was painted, as far as the last bits depend on it."""

    def company(self, index: int) -> dict[str, int]:
        """With how many others picture `index` was painted at once, and its place among them.

        Kernels add in another order for another size, so that its last bits depend on that, and on nothing else of
        the others.
        """
        start = index - index % self.batch
        return {"size": min(self.batch, len(self.images) - start), "place": index - start}

    def record(self, index: int) -> dict[str, Any]:
        """What `save_png` keeps of picture `index`: its own prompt and seed, and what was said that all share."""
        own = ("prompts", "seeds")
        shared = {key: value for key, value in self.settings.items() if key not in own and value not in (None, "")}
        return {"prompt": self.settings["prompts"][index], "seed": self.settings["seeds"][index], **shared}


def paint(
    pipe: Pipeline,
    prompts: Sequence[str],
    *,
    seeds: Sequence[int],
    init: Image.Image | None = None,
    batch: int | None = None,
    on_step: OnStep | None = None,
    cancelled: StopAsked | None = None,
    **how: Any,
) -> Painting:
    """One picture for each (prompt, seed) pair; `how` are the fields of Settings.

    At most `batch` at a time, or as many as were chosen for the pipeline when it was opened.
    Raises UnknownSolver, UnsupportedSetting, and Cancelled between two denoising steps.
    """
    settings = Settings(**how)
    began, batch = time.perf_counter(), batch or at_once(pipe)
    latents = denoise(pipe, prompts, seeds, settings, init=init, batch=batch, on_step=on_step, cancelled=cancelled)
    images = decode(pipe, latents, batch=batch)
    return Painting(
        images=images,
        latents=latents,
        evaluations=settings.steps_taken if embeds_guidance(pipe.unet) else settings.evaluations,
        seconds=time.perf_counter() - began,
        settings={**asdict(settings), "prompts": list(prompts), "seeds": list(seeds), "versions": software()},
        batch=batch,
        machine={**circumstances(pipe), **machine()},
    )


@torch.no_grad()
def denoise(
    pipe: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    settings: Settings,
    *,
    init: Image.Image | None = None,
    batch: int = 48,
    on_step: OnStep | None = None,
    cancelled: StopAsked | None = None,
    trace: Trace | None = None,
) -> Tensor:
    """The endpoints z_0 of each (prompt, seed) pair: (N, channels, height, width), scaled as the U-Net sees them.

    `init` is the picture that they all begin with, at the strength in `settings`. The same x_T up to its scale for
    every solver: Euler starts at sigma_max * x_T, 0.2 % below the others' level.
    """
    _refuse_unpaired(prompts, seeds, batch)
    _refuse_idle(pipe, settings, init)
    size = settings.size(pipe)
    told = embed(pipe, prompts, size).to(*_place(pipe))
    blank = _guided_away_from(pipe, told, settings, size)
    picture = None if init is None else encoded(pipe, init, size)
    done, total, finished = 0, settings.steps_taken * ceil(len(seeds) / batch), []
    for start in range(0, len(seeds), batch):
        part = slice(start, start + batch)
        scheduler, generators = settings.scheduler(pipe), generators_of(seeds[part])
        timesteps = settings.visited(scheduler)
        fresh_noise = find_solver(settings.solver).step_arguments(settings.eta, generators)
        here, away = told.at(part), None if blank is None else blank.at(part)
        z = beginning(pipe, scheduler, timesteps[:1], generators, latent_shape(pipe, size), picture)
        for t in timesteps:
            _stop_if_asked(cancelled, done, total)
            if trace is not None:
                trace(t, z)
            predicted = _predict(pipe, scheduler.scale_model_input(z, t), t, here, away, settings.guidance)
            z = scheduler.step(predicted, t, z, **fresh_noise, return_dict=False)[0]
            done += 1
            if on_step is not None:
                on_step(done, total)
        finished.append(z)
    return torch.cat(finished)


@torch.no_grad()
def predict(
    pipe: Pipeline, prompts: Sequence[str], z: Tensor, timestep: int, guidance: float = 1.0, *, batch: int = 48
) -> Tensor:
    """The U-Net's outputs (N, channels, height, width) at latents z of one timestep, a prompt each."""
    told = embed(pipe, prompts).to(*_place(pipe))
    away = unconditional(pipe, told) if _is_guided(pipe, guidance) else None
    t, given, outputs = torch.tensor(timestep, device=device_of(pipe)), z.to(*_place(pipe)), []
    for start in range(0, len(z), batch):
        part = slice(start, start + batch)
        blank = None if away is None else away.at(part)
        outputs.append(_predict(pipe, given[part], t, told.at(part), blank, guidance))
    return torch.cat(outputs)


@torch.no_grad()
def decode(pipe: Pipeline, latents: Tensor, *, batch: int = 48) -> list[Image.Image]:
    """Latents (N, channels, height, width) to N pictures, through the pipeline's VAE."""
    images: list[Image.Image] = []
    for part in latents.split(batch):
        unscaled = (part / pipe.vae.config.scaling_factor).to(precision_of(pipe.vae))
        pixels = pipe.vae.decode(unscaled, return_dict=False)[0]
        images += pipe.image_processor.postprocess(pixels, output_type="pil")
    return images


def latent_shape(pipe: Pipeline, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
    """(channels, height, width) of one picture's latents, at the base's own size or at (height, width) pixels."""
    height, width = size or picture_size(pipe)
    return pipe.unet.config.in_channels, height // pipe.vae_scale_factor, width // pipe.vae_scale_factor


def _place(pipe: Pipeline) -> tuple[torch.device, torch.dtype]:
    """Where and in which precision the U-Net takes what it is given."""
    return device_of(pipe), precision_of(pipe.unet)


def _is_guided(pipe: Pipeline, guidance: float) -> bool:
    """Whether each step asks the U-Net twice: not where guidance is 1, or the U-Net is told it."""
    return guidance > 1 and not embeds_guidance(pipe.unet)


def _guided_away_from(pipe: Pipeline, told: Condition, settings: Settings, size: tuple[int, int]) -> Condition | None:
    """What the pictures are guided away from; None where they are not guided."""
    if not _is_guided(pipe, settings.guidance):
        return None
    if settings.negative:
        negative = embed(pipe, [settings.negative], size).repeated(len(told))
        return negative.to(*_place(pipe))
    return unconditional(pipe, told)


def _predict(
    pipe: Pipeline, z: Tensor, t: Tensor, condition: Condition, unconditional: Condition | None, guidance: float
) -> Tensor:
    """The U-Net's output; guided, u + guidance * (c - u) with both halves in one batch (Ho and Salimans 2022).

    A U-Net that embeds its guidance is told it instead.
    """
    if unconditional is None:
        told = timestep_condition(pipe.unet, guidance, len(z))
        return pipe.unet(z, t, **condition.arguments(), timestep_cond=told).sample
    both = unconditional.followed_by(condition).arguments()
    u, c = pipe.unet(torch.cat([z, z]), t, **both).sample.chunk(2)
    return u + guidance * (c - u)


def _stop_if_asked(cancelled: StopAsked | None, done: int, total: int) -> None:
    if cancelled is not None and (reason := cancelled()):
        why = f": {reason}" if isinstance(reason, str) else ""
        raise Cancelled(f"painting stopped after {done} of {total} denoising steps{why}")


def _refuse_unpaired(prompts: Sequence[str], seeds: Sequence[int], batch: int) -> None:
    if isinstance(prompts, str) or len(prompts) != len(seeds) or len(seeds) == 0:
        raise UnsupportedSetting(
            f"a painting takes one prompt for each seed, at least one; got {len(prompts)} prompts, {len(seeds)} seeds."
        )
    if batch < 1:
        raise UnsupportedSetting(f"batch must be at least 1, got {batch}.")


def _refuse_idle(pipe: Pipeline, settings: Settings, init: Image.Image | None) -> None:
    """Raise for what would make no difference here."""
    if (init is None) != (settings.init_strength is None):
        said, missing = ("a picture", "strength") if init is not None else ("an init strength", "picture")
        raise UnsupportedSetting(f"{said} to begin with was given, but no {missing}; give both or neither.")
    if settings.negative and embeds_guidance(pipe.unet):
        raise UnsupportedSetting(
            "this base is told its guidance and is guided away from nothing; leave the negative prompt out."
        )

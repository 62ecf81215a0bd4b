"""What a painting begins with: noise, or a picture under noise; every number of it from the picture's own seed."""

from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from PIL import Image
from torch import Tensor

from sampling.base import Pipeline
from sampling.placement import device_of, precision_of


def noise_for(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """x_T of each seed: (len(seeds), *shape) float32 on the CPU; row i depends on seeds[i] alone."""
    return drawn(generators_of(seeds), shape)


def generators_of(seeds: Sequence[int]) -> list[torch.Generator]:
    """A generator on the CPU for each seed."""
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def drawn(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """The next normal numbers of each generator: (len(generators), *shape) float32 on the CPU."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators])


@torch.no_grad()
def encoded(pipe: Pipeline, picture: Image.Image, size: tuple[int, int]) -> DiagonalGaussianDistribution:
    """The latents (1, channels, height, width) that the VAE makes of a picture, resized to (height, width) pixels."""
    pixels = pipe.image_processor.preprocess(picture.convert("RGB"), *size)
    return pipe.vae.encode(pixels.to(device_of(pipe), precision_of(pipe.vae))).latent_dist


def beginning(
    pipe: Pipeline,
    scheduler: SchedulerMixin,
    first: Tensor,
    generators: Sequence[torch.Generator],
    shape: Sequence[int],
    picture: DiagonalGaussianDistribution | None,
) -> Tensor:
    """z at the timestep `first`: (len(generators), *shape) on the pipeline's device.

    Of an encoded picture z = sqrt(alpha_bar) z_0 + sqrt(1 - alpha_bar) epsilon (Meng et al. 2022, arXiv 2108.01073),
    each with a z_0 of its own from the VAE's distribution; x_T at the scheduler's level without one.
    """
    dtype = precision_of(pipe.unet)
    if picture is None:
        return drawn(generators, shape).to(device_of(pipe), dtype) * scheduler.init_noise_sigma
    clean = torch.cat([picture.sample(generator) for generator in generators]) * pipe.vae.config.scaling_factor
    noise = drawn(generators, shape).to(device_of(pipe), dtype)
    noisy: Tensor = scheduler.add_noise(clean.to(dtype), noise, first.repeat(len(generators)))
    return noisy

"""Trains the VAE on pictures of every style, so that its decoder can paint what a style vector asks for."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from demo.renderer import render, sample_attributes, sample_scenes
from demo.training.loop import step_generators, train
from demo.training.networks import autoencoder

BATCH = 32
KL_WEIGHT = 1e-6


def pictures(rng: np.random.Generator, count: int, style: str | None) -> Tensor:
    """`count` fresh pictures (count, 3, 64, 64) in [-1, 1]; `style` None draws every style."""
    scenes = sample_scenes(rng, sample_attributes(rng, count), style)
    stacked = torch.from_numpy(np.stack([render(scene) for scene in scenes]))
    return stacked.permute(0, 3, 1, 2) * 2 - 1


def train_autoencoder(folder: Path, *, steps: int, seed: int = 0) -> None:
    """Train for `steps` batches of 32 and write folder/vae (fp32, scaling factor measured)."""
    torch.manual_seed(seed)
    vae = autoencoder()

    def loss_of_step(step: int) -> Tensor:
        rng, noise = step_generators(seed, step)
        images = pictures(rng, BATCH, style=None)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(images).latent_dist
            sampled = posterior.mean + posterior.std * torch.randn(posterior.mean.shape, generator=noise)
            painted = vae.decode(sampled).sample
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).float().mean()
        return _painting_loss(painted.float(), images) + KL_WEIGHT * kl

    average = train(
        nn.ModuleDict({"vae": vae}),
        loss_of_step,
        steps=steps,
        peak_rate=2e-3,
        folder=folder / "autoencoder",
        ema_rate=0.995,
    )
    vae.load_state_dict({name.removeprefix("vae."): value for name, value in average.items()})
    vae.eval()
    _measure(vae, seed)
    vae.save_pretrained(folder / "vae")


def _painting_loss(painted: Tensor, images: Tensor) -> Tensor:
    """Absolute and squared error of the pixels, and absolute error of the differences between neighbours."""
    error = painted - images
    edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return error.abs().mean() + error.square().mean() + edges


@torch.no_grad()
def _measure(vae: nn.Module, seed: int) -> None:
    """Set the scaling factor that gives flat latents unit variance; print the reconstruction PSNR."""
    rng = np.random.default_rng([seed, 10**9])
    flat = vae.encode(pictures(rng, 512, "flat")).latent_dist.mean
    vae.register_to_config(scaling_factor=round(1 / flat.std().item(), 5))
    images = pictures(rng, 256, None)
    error = (vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1) - images).square().mean()
    print(f"scaling factor {vae.config.scaling_factor}, PSNR {10 * torch.log10(4 / error).item():.2f} dB", flush=True)

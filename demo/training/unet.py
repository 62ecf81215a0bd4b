"""Trains the U-Net and the text encoder together, on captions as noisy as the web's."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional

from demo.captions import caption, corrupt
from demo.renderer import render, sample_attributes, sample_scenes
from demo.shipped import base_folder
from demo.training.loop import step_generators, train
from demo.training.networks import scheduler, text_encoder, unet, write_tokenizer

BATCH = 48
PICTURES = 20_000


@torch.no_grad()
def cached_latents(vae: AutoencoderKL, count: int, seed: int) -> tuple[Tensor, list[str]]:
    """`count` flat pictures as scaled latents (count, 4, 8, 8), with their true captions."""
    rng = np.random.default_rng([seed, 77])
    attributes = sample_attributes(rng, count)
    scenes = sample_scenes(rng, attributes, "flat")
    latents = []
    for start in range(0, count, 100):
        stacked = torch.from_numpy(np.stack([render(scene) for scene in scenes[start : start + 100]]))
        images = stacked.permute(0, 3, 1, 2) * 2 - 1
        latents.append(vae.encode(images).latent_dist.mean * vae.config.scaling_factor)
    return torch.cat(latents), [caption(entry) for entry in attributes]


def train_unet(folder: Path, *, steps: int, seed: int = 0) -> None:
    """Train for `steps` batches of 48 on 20,000 cached latents; write unet, text_encoder and tokenizer (fp32)."""
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    tokenizer = write_tokenizer(folder / "tokenizer")
    network, encoder, schedule = unet(), text_encoder(len(tokenizer)), scheduler()
    latents, captions = cached_latents(vae, PICTURES, seed)

    def loss_of_step(step: int) -> Tensor:
        rng, noise_source = step_generators(seed, step)
        chosen = rng.integers(len(captions), size=BATCH)
        texts = corrupt([captions[i] for i in chosen], rng)
        tokens = tokenizer(texts, padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt")
        clean = latents[torch.from_numpy(chosen)]
        noise = torch.randn(clean.shape, generator=noise_source)
        timesteps = torch.randint(0, 1000, (BATCH,), generator=noise_source)
        noisy = schedule.add_noise(clean, noise, timesteps)
        predicted = network(noisy, timesteps, encoder(tokens.input_ids).last_hidden_state).sample
        return functional.mse_loss(predicted, noise)

    average = train(
        nn.ModuleDict({"unet": network, "text_encoder": encoder}),
        loss_of_step,
        steps=steps,
        peak_rate=1e-3,
        folder=folder / "diffusion",
        ema_rate=0.999,
    )
    _load(network, average, "unet.")
    _load(encoder, average, "text_encoder.")
    network.save_pretrained(folder / "unet")
    encoder.save_pretrained(folder / "text_encoder")


def train_velocity(folder: Path, *, steps: int, seed: int = 0) -> None:
    """Teach the shipped U-Net to predict v = alpha eps - sigma x0 instead of eps; write velocity/unet (fp32).

    The text encoder and VAE stay the base's own, as those of Stable Diffusion 2.1 stayed 2.0's. Captions are as noisy
    as in `train_unet`.
    """
    pipe = StableDiffusionPipeline.from_pretrained(base_folder(), dtype=torch.float32)
    network, schedule = pipe.unet.train(), scheduler("v_prediction")
    latents, captions = cached_latents(pipe.vae.eval(), PICTURES, seed)
    embedded = _embeddings(pipe, sorted({*captions, ""}))

    def loss_of_step(step: int) -> Tensor:
        rng, noise_source = step_generators(seed, step)
        chosen = rng.integers(len(captions), size=BATCH)
        texts = corrupt([captions[i] for i in chosen], rng)
        clean = latents[torch.from_numpy(chosen)]
        noise = torch.randn(clean.shape, generator=noise_source)
        timesteps = torch.randint(0, 1000, (BATCH,), generator=noise_source)
        noisy = schedule.add_noise(clean, noise, timesteps)
        predicted = network(noisy, timesteps, torch.stack([embedded[text] for text in texts])).sample
        return functional.mse_loss(predicted, schedule.get_velocity(clean, noise, timesteps))

    average = train(
        nn.ModuleDict({"unet": network}),
        loss_of_step,
        steps=steps,
        peak_rate=7e-4,
        folder=folder / "velocity",
        ema_rate=0.998,
    )
    _load(network, average, "unet.")
    network.save_pretrained(folder / "velocity" / "unet")


@torch.no_grad()
def _embeddings(pipe: StableDiffusionPipeline, captions: list[str]) -> dict[str, Tensor]:
    """(tokens, width) of each caption."""
    length = pipe.tokenizer.model_max_length
    tokens = pipe.tokenizer(captions, padding="max_length", max_length=length, return_tensors="pt").input_ids
    return dict(zip(captions, pipe.text_encoder(tokens).last_hidden_state, strict=True))


def _load(module: nn.Module, average: dict[str, Tensor], prefix: str) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in average.items() if k.startswith(prefix)})

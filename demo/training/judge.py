"""Trains the judge: which attributes and which style a picture shows, also through the VAE's blur."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetForImageClassification

from demo.renderer import Scene, render, sample_attributes, sample_scenes
from demo.training.loop import step_generators, train
from demo.training.networks import JUDGE_HEADS, judge

BATCH = 64


def labelled_pictures(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Fresh pictures (count, 3, 64, 64) in [-1, 1] and the index of the right value of each head (count, heads)."""
    scenes = sample_scenes(rng, sample_attributes(rng, count), None)
    images = torch.from_numpy(np.stack([render(scene) for scene in scenes])).permute(0, 3, 1, 2) * 2 - 1
    return images, torch.tensor([_targets(scene) for scene in scenes])


def _targets(scene: Scene) -> list[int]:
    truth = {**scene.attributes._asdict(), "style": scene.style}
    return [values.index(truth[head]) for head, values in JUDGE_HEADS.items()]


def head_logits(network: ResNetForImageClassification, images: Tensor) -> list[Tensor]:
    """One (count, values) tensor of logits a head."""
    return list(network(images).logits.split([len(values) for values in JUDGE_HEADS.values()], dim=1))


@torch.no_grad()
def blurred(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """`images` through the VAE and back."""
    return vae.decode(vae.encode(images).latent_dist.mean).sample.clamp(-1, 1)


def train_judge(folder: Path, *, steps: int, seed: int = 0) -> None:
    """Train for `steps` batches of 64, half of them through the VAE; write folder/judge; print held-out accuracies."""
    torch.manual_seed(seed)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    network = judge().train()

    def loss_of_step(step: int) -> Tensor:
        rng, noise = step_generators(seed, step)
        images, targets = labelled_pictures(rng, BATCH)
        images[::2] = blurred(vae, images[::2])
        images = images + 0.1 * rng.random() * torch.randn(images.shape, generator=noise)
        losses = [functional.cross_entropy(p, targets[:, i]) for i, p in enumerate(head_logits(network, images))]
        return torch.stack(losses).mean()

    average = train(
        nn.ModuleDict({"judge": network}),
        loss_of_step,
        steps=steps,
        peak_rate=3e-3,
        folder=folder / "judging",
        ema_rate=0.99,
    )
    network.load_state_dict({name.removeprefix("judge."): value for name, value in average.items()})
    network.eval().save_pretrained(folder / "judge")
    _measure(network, vae, seed)


@torch.no_grad()
def _measure(network: ResNetForImageClassification, vae: AutoencoderKL, seed: int) -> None:
    images, targets = labelled_pictures(np.random.default_rng([seed, 10**9]), 4000)
    for name, shown in (("renderings", images), ("through the VAE", blurred(vae, images))):
        right = torch.stack([p.argmax(1) == targets[:, i] for i, p in enumerate(head_logits(network, shown))], 1)
        each = dict(zip(JUDGE_HEADS, right.float().mean(0).tolist(), strict=True))
        print(
            name, {head: round(value, 4) for head, value in each.items()}, "joint", right.all(1).float().mean().item()
        )

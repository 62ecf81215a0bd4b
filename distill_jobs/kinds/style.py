"""Style training: a LoRA that learns somebody's pictures by ordinary denoising, on the frozen base."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from distill_jobs import consistency
from distill_jobs.adapters import STYLE_TARGETS, TEXT_ENCODER_TARGETS, InjectedAdapter, injected
from distill_jobs.bases.trainable import require_trainable
from distill_jobs.data.dataset import Dataset
from distill_jobs.export import Components, export
from distill_jobs.material.cache import distinct, embeddings, latents, token_ids
from distill_jobs.progress import Cancelled, Report
from distill_jobs.training.loop import optimise
from distill_jobs.training.settings import VectorSettings
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, Weights, identity

RESULT = "style.safetensors"


class CaptionNoise(BaseModel):
    """The shares of captions that a step replaces: `empty` by "", `wrong` of the others by another picture's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wrong: float = Field(0.0, ge=0, le=1)
    empty: float = Field(0.1, ge=0, le=1)


class StyleSettings(VectorSettings):
    """What a style training accepts."""

    rank: int = Field(8, ge=1)
    targets: tuple[str, ...] = STYLE_TARGETS
    text_encoder: bool = Field(False, description="also train a LoRA of the same rank on the text encoder's attention")
    caption_noise: CaptionNoise = CaptionNoise()
    sample_guidance: float = Field(5.0, ge=1, description="of the sample strip")


def train_style(
    pipe: Any,
    dataset: Dataset,
    settings: StyleSettings,
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
) -> Path:
    """Train a style vector for `pipe`'s base; return the file (for the peft layout: the folder) in `folder`.

    Resumes, stops and fails as `distill_jobs.kinds.lcd_lora.distil` does. `pipe` is left as it was.
    """
    require_trainable(pipe)
    loss = StyleLoss(pipe, dataset, settings, folder / "cache")
    named = identity("style", settings, dataset, pipe)
    pipe.unet.eval()
    with _adapters(pipe, settings) as adapters:
        trainer = Trainer(_parameters(adapters), settings, named)
        weights = optimise(
            trainer,
            loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(pipe, trainer, folder, "ddim", steps=20, guidance=settings.sample_guidance),
        )
        components = _components(adapters, weights)
        return export(components, folder / RESULT, settings.layout, {"tauworks.training": settings.model_dump_json()})


class StyleLoss:
    """The denoising loss of one step: mean squared error to what the base predicts (noise, v or sample)."""

    def __init__(self, pipe: Any, dataset: Dataset, settings: StyleSettings, cache: Path) -> None:
        self.pipe, self.settings = pipe, settings
        self.schedule = consistency.schedule_of(pipe.scheduler)
        captions, self.rows = distinct(dataset.captions)
        self.latents = latents(pipe, dataset, cache)
        self.tokens = token_ids(pipe, captions)
        self.embeddings = None if settings.text_encoder else embeddings(pipe, captions, cache)

    def __call__(self, step: Step) -> Tensor:
        """The loss on the batch of `step`."""
        chosen, generator = step.choice(len(self.rows)), step.generator()
        x0 = self.latents[chosen]
        rows = noisy_rows(self.rows, chosen, self.settings.caption_noise, generator)
        timesteps = torch.randint(len(self.schedule.alpha), (step.batch,), generator=generator)
        eps = torch.randn(x0.shape, generator=generator)
        alpha, sigma = self.schedule.at(timesteps)
        z = consistency.diffuse(x0, eps, alpha, sigma)
        output = self.pipe.unet(z, timesteps, self.text(rows), return_dict=False)[0]
        truth = consistency.output_for(x0, eps, alpha, sigma, self.schedule.prediction)
        return (output - truth).square().mean()

    def text(self, rows: Tensor) -> Tensor:
        """(B, tokens, width) of the captions in `rows`: cached, or encoded with the LoRA that is being trained."""
        if self.embeddings is not None:
            return self.embeddings[rows]
        wanted, places = rows.unique(return_inverse=True)
        encoded: Tensor = self.pipe.text_encoder(self.tokens[wanted])[0]
        return encoded[places]


def noisy_rows(rows: Tensor, chosen: Tensor, noise: CaptionNoise, generator: torch.Generator) -> Tensor:
    """The caption row (B,) of each chosen picture after caption noise; row 0 is the empty caption.

    A share `empty` becomes row 0; of the others a share `wrong` becomes the row of a picture drawn at random.
    """
    blank = torch.rand(len(chosen), generator=generator) < noise.empty
    wrong = torch.rand(len(chosen), generator=generator) < noise.wrong
    other = rows[torch.randint(len(rows), (len(chosen),), generator=generator)]
    return torch.where(wrong, other, rows[chosen]).masked_fill(blank, 0)


@contextmanager
def _adapters(pipe: Any, settings: StyleSettings) -> Iterator[dict[str, InjectedAdapter]]:
    networks = {"unet": (pipe.unet, settings.targets)}
    if settings.text_encoder:
        networks["text_encoder"] = (pipe.text_encoder, TEXT_ENCODER_TARGETS)
    with ExitStack() as stack:
        yield {
            component: stack.enter_context(
                injected(network, targets, rank=settings.rank, alpha=settings.effective_alpha, seed=settings.seed)
            )
            for component, (network, targets) in networks.items()
        }


def _parameters(adapters: dict[str, InjectedAdapter]) -> dict[str, torch.nn.Parameter]:
    return {
        f"{component}/{name}": parameter
        for component, adapter in adapters.items()
        for name, parameter in adapter.parameters().items()
    }


def _components(adapters: dict[str, InjectedAdapter], weights: Weights) -> Components:
    components = {}
    for component, adapter in adapters.items():
        own = {name.removeprefix(f"{component}/"): w for name, w in weights.items() if name.startswith(f"{component}/")}
        components[component] = adapter.factors(own)
    return components

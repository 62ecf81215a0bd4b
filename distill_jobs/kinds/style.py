"""Style training: a LoRA that learns somebody's pictures by ordinary denoising, on the frozen base."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from distill_jobs import consistency
from distill_jobs.adapters import STYLE_TARGETS, TEXT_ENCODER_TARGETS, InjectedAdapter, injected
from distill_jobs.bases.conditioning import Condition, caption_rows, encoded_rows, token_ids
from distill_jobs.bases.trainable import require_trainable
from distill_jobs.data.dataset import Dataset
from distill_jobs.export import Components, export
from distill_jobs.material.material import prepare
from distill_jobs.progress import Cancelled, Report
from distill_jobs.software import training_metadata
from distill_jobs.training.compilation import TOLERANCES, require_parity
from distill_jobs.training.forward import Forward
from distill_jobs.training.loop import optimise
from distill_jobs.training.precision import autocast, beside_it, prepared
from distill_jobs.training.processes import first_alone, in_processes
from distill_jobs.training.settings import VectorSettings
from distill_jobs.training.step import Step
from distill_jobs.training.strip import painter
from distill_jobs.training.trainer import Trainer, Weights, identity
from sampling.base import text_encoders

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
    text_encoder: bool = Field(False, description="also train a LoRA of this rank on the text encoders' attention")
    caption_noise: CaptionNoise = CaptionNoise()
    sample_guidance: float = Field(5.0, ge=1, description="of the sample strip")


@in_processes
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
    named = identity("style", settings, dataset, pipe)
    with first_alone(), beside_it(pipe, settings):
        loss = StyleLoss(pipe, dataset, settings, folder / "cache")
    pipe.unet.eval()
    with _adapters(pipe, settings) as adapters, ExitStack() as stack:
        for network in (pipe.unet, *text_encoders(pipe).values()):
            stack.enter_context(prepared(network, settings))
        trainer = Trainer(_parameters(adapters), settings, named)
        loss.require_parity(trainer.parameters)
        weights = optimise(
            trainer,
            loss,
            folder=folder,
            report=report,
            cancelled=cancelled,
            paint_strip=painter(pipe, trainer, folder, "ddim", steps=20, guidance=settings.sample_guidance),
        )
        components = _components(adapters, weights)
        return export(components, folder / RESULT, settings.layout, training_metadata(settings))


class StyleLoss:
    """The denoising loss of one step: mean squared error to what the base predicts (noise, v or sample)."""

    def __init__(self, pipe: Any, dataset: Dataset, settings: StyleSettings, cache: Path) -> None:
        self.pipe, self.settings = pipe, settings
        self.schedule = consistency.schedule_of(pipe.scheduler)
        self.material = prepare(pipe, dataset, cache)
        self.tokens = token_ids(pipe, caption_rows(pipe, dataset.captions)[0])
        self.network = Forward(pipe.unet, settings)

    def __call__(self, step: Step) -> Tensor:
        """The loss on this part of the batch of `step`."""
        chosen, generator = step.choice(len(self.material.rows)), step.generator()
        rows = noisy_rows(self.material.rows, chosen, self.settings.caption_noise, generator)[step.share]
        timesteps = torch.randint(len(self.schedule.alpha), (step.batch,), generator=generator)[step.share]
        eps = torch.randn((step.batch, *self.material.latents.shape[1:]), generator=generator)[step.share]
        x0 = self.material.latents[chosen[step.share]]
        alpha, sigma = self.schedule.at(timesteps)
        z = consistency.diffuse(x0, eps, alpha, sigma)
        output = self.network(z, timesteps, self.told(rows, chosen[step.share]))
        truth = consistency.output_for(x0, eps, alpha, sigma, self.schedule.prediction)
        return (output - truth).square().mean()

    def told(self, rows: Tensor, chosen: Tensor) -> Condition:
        """The captions in `rows` (B,), told of the chosen pictures: cached, or encoded with the LoRA in training."""
        cached = self.material.told(rows, chosen)
        if not self.settings.text_encoder:
            return cached
        with autocast(self.settings):
            return encoded_rows(self.pipe, self.tokens, rows).with_time_ids(cached.time_ids)

    def require_parity(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        """Compare the compiled U-Net with its uncompiled self. Raises CompileMismatch."""
        if self.settings.compile == "off":
            return
        first = torch.arange(1)
        with torch.no_grad():
            condition = self.told(self.material.rows[first], first)
        z, timesteps = self.material.latents[:1], torch.tensor([len(self.schedule.alpha) // 2])
        require_parity(
            lambda: self.network.uncompiled()(z, timesteps, condition),
            lambda: self.network(z, timesteps, condition),
            {"network": nullcontext},
            parameters,
            tolerance=TOLERANCES[self.settings.dtype],
        )


def noisy_rows(rows: Tensor, chosen: Tensor, noise: CaptionNoise, generator: torch.Generator) -> Tensor:
    """The caption row (B,) of each chosen picture after caption noise; row 0 tells nothing.

    A share `empty` becomes row 0; of the others a share `wrong` becomes the row of a picture drawn at random.
    """
    blank = torch.rand(len(chosen), generator=generator) < noise.empty
    wrong = torch.rand(len(chosen), generator=generator) < noise.wrong
    other = rows[torch.randint(len(rows), (len(chosen),), generator=generator)]
    return torch.where(wrong, other, rows[chosen]).masked_fill(blank, 0)


@contextmanager
def _adapters(pipe: Any, settings: StyleSettings) -> Iterator[dict[str, InjectedAdapter]]:
    networks: dict[str, tuple[nn.Module, Sequence[str]]] = {"unet": (pipe.unet, settings.targets)}
    if settings.text_encoder:
        networks |= {name: (encoder, TEXT_ENCODER_TARGETS) for name, encoder in text_encoders(pipe).items()}
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

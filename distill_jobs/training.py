"""The optimisation loop of every kind of training: progress, checkpoints, cancellation and bit-exact resumption.

All randomness of step i is drawn from generators that (seed, i) determine, so a checkpoint of the weights, the
optimiser, the average and the step holds the whole state: the data cursor and the next random numbers follow from it.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distill_jobs.cache import weights_digest
from distill_jobs.dataset import Dataset
from distill_jobs.errors import CheckpointMismatch, Diverged, Interrupted
from distill_jobs.progress import Cancelled, Progress, Report
from distill_jobs.settings import TrainingSettings

CHECKPOINT = "checkpoint.pt"


Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """One step's position and its source of random numbers."""

    number: int
    seed: int
    batch: int

    def generator(self) -> torch.Generator:
        """A fresh torch generator that (seed, number) determines."""
        state = np.random.SeedSequence([self.seed, self.number]).generate_state(1, np.uint64)
        return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))

    def choice(self, count: int) -> Tensor:
        """(batch,) int64 indices below `count`: every epoch is a fresh permutation, and batches run across its end."""
        first = self.number * self.batch
        places = np.arange(first, first + self.batch)
        orders = {e: _epoch(self.seed, e, count) for e in range(places[0] // count, places[-1] // count + 1)}
        return torch.tensor([orders[place // count][place % count] for place in places])


def _epoch(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng([seed, 1_000_000_007, epoch]).permutation(count)


def rate_factor(step: int, settings: TrainingSettings) -> float:
    """The share of the learning rate in effect at `step`: linear warm-up, then constant, cosine or linear to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    match settings.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1.0 - progress
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))


def identity(kind: str, settings: TrainingSettings, dataset: Dataset, pipe: Any) -> str:
    """SHA-256 over everything that the trained weights depend on: kind, settings, data and the base's weights."""
    base = [weights_digest(network) for network in (pipe.unet, pipe.text_encoder, pipe.vae)]
    parts = [kind, settings.of_the_result(), dataset.fingerprint, base]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Trainer:
    """AdamW on the trained parameters, with what is needed to stop anywhere and go on as if never stopped."""

    def __init__(self, parameters: dict[str, nn.Parameter], settings: TrainingSettings, identity: str) -> None:
        self.parameters, self.settings, self.identity = parameters, settings, identity
        self.optimiser = torch.optim.AdamW(
            parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.average = {name: value.detach().clone() for name, value in parameters.items()}
        self.step = 0

    def exported(self) -> Weights:
        """What to save: the moving average when `ema_rate` is above 0, the last weights otherwise."""
        return self.average if self.settings.ema_rate else self.parameters

    @contextmanager
    def showing_exported(self) -> Iterator[None]:
        """Inside, the network carries the weights that would be exported now."""
        kept = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._carry(self.exported())
        try:
            yield
        finally:
            self._carry(kept)

    @torch.no_grad()
    def _carry(self, weights: Weights) -> None:
        for name, value in self.parameters.items():
            value.copy_(weights[name])

    def update(self, loss: Tensor) -> float:
        """One optimiser step; returns the loss. Raises Diverged when it is not finite."""
        value = loss.item()
        if not math.isfinite(value):
            raise Diverged(
                f"step {self.step}: the loss is {value}; "
                f"lower learning_rate ({self.settings.learning_rate}) or raise warmup"
            )
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate_factor(self.step, self.settings)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.gradient_clip)
        self.optimiser.step()
        self.step += 1
        self._average()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        rate = min(self.settings.ema_rate, self.step / (self.step + 10))
        for name, value in self.parameters.items():
            self.average[name].lerp_(value, 1 - rate)

    def save(self, folder: Path) -> None:
        """Write folder/checkpoint.pt, durably and whole or not at all."""
        state = {
            "identity": self.identity,
            "step": self.step,
            "weights": {name: value.detach() for name, value in self.parameters.items()},
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
        }
        partial = folder / f"{CHECKPOINT}.partial"
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(folder / CHECKPOINT)

    @torch.no_grad()
    def resume(self, folder: Path) -> None:
        """Go on from folder/checkpoint.pt when it is there; refuse one of another training."""
        path = folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["identity"] != self.identity:
            raise CheckpointMismatch(
                f"{path}: made with other settings, data or base ({state['identity'][:12]}, "
                f"not {self.identity[:12]}); use another folder, or remove the checkpoint"
            )
        for name, value in self.parameters.items():
            value.copy_(state["weights"][name])
            self.average[name].copy_(state["average"][name])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]


def optimise(
    trainer: Trainer,
    loss_of: Callable[[Step], Tensor],
    *,
    folder: Path,
    report: Report,
    cancelled: Cancelled,
    paint_strip: Callable[[], Path],
) -> Weights:
    """Run `trainer` from where folder's checkpoint left it to its last step; return the weights to export.

    `cancelled` is asked before every step: a reason stops the training after a checkpoint with Interrupted.
    `paint_strip` is called after every step that a strip is due.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trainer.resume(folder)
    settings, first, began = trainer.settings, trainer.step, time.monotonic()
    while trainer.step < settings.steps:
        reason = cancelled()
        if reason:
            trainer.save(folder)
            raise Interrupted(reason, trainer.step)
        loss = trainer.update(loss_of(Step(trainer.step, settings.seed, settings.batch)))
        done = trainer.step
        if done % settings.checkpoint_every == 0 or done == settings.steps:
            trainer.save(folder)
        strip = paint_strip() if _strip_is_due(settings, done) else None
        pace = (time.monotonic() - began) / (done - first)
        rate = trainer.optimiser.param_groups[0]["lr"]
        report(Progress(done, settings.steps, loss, rate, pace * (settings.steps - done), strip))
    return trainer.exported()


def _strip_is_due(settings: TrainingSettings, done: int) -> bool:
    return settings.sample_every > 0 and (done % settings.sample_every == 0 or done == settings.steps)

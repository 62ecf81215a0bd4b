"""The optimiser of a training, and the checkpoints that it goes on from."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import CheckpointMismatch, Diverged
from distill_jobs.material.cache import weights_digest
from distill_jobs.training.optimisers import optimiser_for
from distill_jobs.training.processes import company
from distill_jobs.training.settings import TrainingSettings
from sampling.base import networks

CHECKPOINT = "checkpoint.pt"

Weights = Mapping[str, Tensor]


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
    base = [weights_digest(network) for network in networks(pipe).values()]
    parts = [kind, settings.of_the_result(), dataset.fingerprint, base]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Trainer:
    """AdamW on the trained parameters, with what is needed to stop anywhere and go on as if never stopped.

    `target` is what a consistency training aims at: the trained parameters themselves, or with a `target_rate` mu above
    0 their moving average theta^- <- mu theta^- + (1 - mu) theta.
    """

    def __init__(
        self, parameters: dict[str, nn.Parameter], settings: TrainingSettings, identity: str, target_rate: float = 0.0
    ) -> None:
        self.parameters, self.settings, self.identity = parameters, settings, identity
        self.optimiser = optimiser_for(parameters.values(), settings)
        self.scaler = torch.amp.GradScaler(settings.device.partition(":")[0], enabled=settings.dtype == "fp16")
        self.average = _copies(parameters) if settings.ema_rate else {}
        self.target_rate = target_rate
        self.target: Weights = _copies(parameters) if target_rate else parameters
        self.step = 0

    def exported(self) -> Weights:
        """What to save: the moving average when `ema_rate` is above 0, the last weights otherwise."""
        return self.average if self.settings.ema_rate else self.parameters

    def exported_from(self, checkpoint: Path) -> Weights:
        """What was to be saved at an earlier step, from its checkpoint."""
        state = self._read(checkpoint)
        weights: Weights = state["average" if self.settings.ema_rate else "weights"]
        return weights

    @contextmanager
    def showing_exported(self) -> Iterator[None]:
        """Inside, the network carries the weights that would be exported now."""
        with self.showing(self.exported()):
            yield

    @contextmanager
    def showing(self, weights: Weights) -> Iterator[None]:
        """Inside, the network carries `weights`."""
        if weights is self.parameters:
            yield
            return
        kept = _copies(self.parameters)
        self._carry(weights)
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
        return self.update_on([loss])

    def update_on(self, losses: Iterable[Tensor]) -> float:
        """One optimiser step on the mean of the losses of a batch's parts, each let go before the next is asked for.

        In company the mean is over the parts of all processes. Returns it; raises Diverged when it is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate_factor(self.step, self.settings)
        self.optimiser.zero_grad(set_to_none=True)
        value = company().average(self._backward(losses), self.parameters.values())
        if not math.isfinite(value):
            raise Diverged(
                f"step {self.step}: the loss is {value}; "
                f"lower learning_rate ({self.settings.learning_rate}) or raise warmup"
            )
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.gradient_clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        self._average()
        return value

    def _backward(self, losses: Iterable[Tensor]) -> float:
        value = 0.0
        for loss in losses:
            share = loss if self.settings.accumulate == 1 else loss / self.settings.accumulate
            self.scaler.scale(share).backward()
            value += share.item()
        return value

    @torch.no_grad()
    def _average(self) -> None:
        rate = min(self.settings.ema_rate, self.step / (self.step + 10))
        for name, average in self.average.items():
            average.lerp_(self.parameters[name], 1 - rate)
        if self.target_rate:
            for name, target in self.target.items():
                target.lerp_(self.parameters[name], 1 - self.target_rate)

    def save(self, folder: Path) -> None:
        """Write folder/checkpoint.pt, durably and whole or not at all."""
        state = {
            "identity": self.identity,
            "step": self.step,
            "weights": {name: value.detach() for name, value in self.parameters.items()},
            "average": self.average,
            "target": dict(self.target) if self.target_rate else {},
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
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
        state = self._read(path)
        self._carry(state["weights"])
        for kept, saved in ((self.average, state["average"]), (self.target, state["target"])):
            for name, value in saved.items():
                kept[name].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.step = state["step"]

    def _read(self, path: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        if state["identity"] != self.identity:
            raise CheckpointMismatch(
                f"{path}: made with other settings, data or base ({state['identity'][:12]}, "
                f"not {self.identity[:12]}); use another folder, or remove the checkpoint"
            )
        return state


def _copies(parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in parameters.items()}

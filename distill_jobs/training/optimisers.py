"""The optimisers that a training can use: AdamW, in one kernel, or with its moments in 8 bits."""

from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec

import torch
from torch import nn

from distill_jobs.errors import UnavailableCompute
from distill_jobs.training.settings import TrainingSettings

EIGHT_BIT = "bitsandbytes"


def optimiser_for(parameters: Iterable[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The settings' optimiser of `parameters`. Raises UnavailableCompute when this machine cannot run it."""
    common = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    match settings.optimiser:
        case "adamw":
            return torch.optim.AdamW(parameters, **common)
        case "adamw-fused":
            return torch.optim.AdamW(parameters, **common, fused=True)
        case "adamw-8bit":
            _require_eight_bit(settings.device)
            made: torch.optim.Optimizer = import_module(f"{EIGHT_BIT}.optim").AdamW8bit(parameters, **common)
            return made


def _require_eight_bit(device: str) -> None:
    remedy = "use adamw or adamw-fused"
    if not device.startswith("cuda"):
        raise UnavailableCompute(f"optimiser adamw-8bit: runs on cuda, the device is {device}; {remedy}")
    if find_spec(EIGHT_BIT) is None:
        raise UnavailableCompute(f"optimiser adamw-8bit: {EIGHT_BIT} is not installed; install it, or {remedy}")

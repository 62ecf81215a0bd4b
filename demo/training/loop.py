"""A seeded, resumable optimisation loop: one step function, a log line and a checkpoint every so often.

The data of step i are drawn from a generator seeded by (seed, i), so a resumed run sees exactly the batches that an
uninterrupted one would have seen.
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """The numpy and torch generators that belong to `step` of the run with `seed`."""
    return np.random.default_rng([seed, step]), torch.Generator().manual_seed(seed * 1_000_003 + step)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warm-up to `peak`, then half a cosine down to 2 % of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    modules: nn.ModuleDict,
    loss_of_step: Callable[[int], Tensor],
    *,
    steps: int,
    peak_rate: float,
    folder: Path,
    ema_rate: float = 0.0,
    checkpoint_every: int = 500,
) -> dict[str, Tensor]:
    """Minimise `loss_of_step(step)` with AdamW; return the (averaged, if `ema_rate` > 0) state dict of `modules`.

    Resumes from folder/checkpoint.pt when it is there; appends one JSON line each 50 steps to folder/log.jsonl.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=peak_rate, weight_decay=1e-3, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in modules.state_dict().items()}
    first = _resume(folder / "checkpoint.pt", modules, optimiser, average)
    began, losses = time.monotonic(), []
    for step in range(first, steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, steps, peak_rate)
        loss = loss_of_step(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        _update_average(average, modules, min(ema_rate, (1 + step) / (10 + step)))
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            _log(folder / "log.jsonl", step + 1, steps, losses, (time.monotonic() - began) / (step + 1 - first))
            losses = []
        if (step + 1) % checkpoint_every == 0 or step + 1 == steps:
            _save(folder / "checkpoint.pt", step + 1, modules, optimiser, average)
    return average


def _update_average(average: dict[str, Tensor], modules: nn.ModuleDict, rate: float) -> None:
    for name, value in modules.state_dict().items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - rate)
        else:
            average[name].copy_(value)


def _log(path: Path, step: int, steps: int, losses: list[float], seconds: float) -> None:
    row = {"step": step, "loss": float(np.mean(losses)), "seconds_per_step": round(seconds, 4)}
    with path.open("a") as log:
        log.write(json.dumps(row) + "\n")
    print(f"{folder_name(path)} {step}/{steps} loss {row['loss']:.5f} eta {seconds * (steps - step):.0f} s", flush=True)


def folder_name(path: Path) -> str:
    """The name of the folder that holds `path`."""
    return path.parent.name


def _save(
    path: Path, step: int, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]
) -> None:
    state = {"step": step, "modules": modules.state_dict(), "optimiser": optimiser.state_dict(), "average": average}
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _resume(path: Path, modules: nn.ModuleDict, optimiser: torch.optim.Optimizer, average: dict[str, Tensor]) -> int:
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    modules.load_state_dict(state["modules"])
    optimiser.load_state_dict(state["optimiser"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return int(state["step"])

"""What the exam's contenders paint, and what the frozen base solves: endpoints and one trajectory a picture."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from distill_jobs.consistency import consistency_function, schedule_of
from distill_jobs.evaluation.exam import Exam
from distill_jobs.progress import Cancelled
from sampling import Settings, denoise, predict
from sampling.contenders import Contender

BATCH = 48


@dataclass(frozen=True)
class Solution:
    """The teacher's endpoints (N, C, h, w), and z (T, N, C, h, w) where its trajectories passed `timesteps` (T,)."""

    endpoints: Tensor
    timesteps: Tensor
    trajectory: Tensor


def paint_latents(pipe: Any, exam: Exam, contender: Contender, cancelled: Cancelled, **trace: Any) -> Tensor:
    """The contender's endpoints (N, C, h, w) with the weights that `pipe` carries now."""
    how = Settings(contender.solver, contender.steps, contender.guidance, contender.spacing, contender.eta)
    return denoise(pipe, exam.prompts, exam.seeds, how, batch=BATCH, cancelled=cancelled, **trace)


def solve(pipe: Any, exam: Exam, teacher: Contender, *, points: int, path: Path, cancelled: Cancelled) -> Solution:
    """The teacher's solution, `points` of its timesteps evenly chosen; from the file `path`, or computed into it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file(_solved(pipe, exam, teacher, points, cancelled), partial)
        partial.replace(path)
    return Solution(**load_file(path))


def _solved(pipe: Any, exam: Exam, teacher: Contender, points: int, cancelled: Cancelled) -> dict[str, Tensor]:
    passed: dict[int, list[Tensor]] = defaultdict(list)

    def note(timestep: Tensor, z: Tensor) -> None:
        passed[int(timestep)].append(z.float().cpu())

    endpoints = paint_latents(pipe, exam, teacher, cancelled, trace=note)
    every = sorted(passed, reverse=True)
    chosen = [every[i * len(every) // points] for i in range(points)]
    return {
        "endpoints": endpoints.float().cpu().contiguous(),
        "timesteps": torch.tensor(chosen),
        "trajectory": torch.stack([torch.cat(passed[timestep]) for timestep in chosen]),
    }


def estimates(pipe: Any, exam: Exam, solution: Solution, guidance: float) -> Tensor:
    """f(z_t, t), (T, N, C, h, w) float32, along the teacher's trajectories, with the weights that `pipe` has now."""
    schedule, rows = schedule_of(pipe.scheduler), []
    for timestep, z in zip(solution.timesteps, solution.trajectory, strict=True):
        output = predict(pipe, exam.prompts, z, int(timestep), guidance, batch=BATCH).float().cpu()
        rows.append(consistency_function(output, z, timestep.expand(len(z)), schedule))
    return torch.stack(rows)

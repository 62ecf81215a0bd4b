"""Measures what one contender painted against the teacher's solution of the same exam."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from distill_jobs.evaluation import measures
from distill_jobs.evaluation.measures import Measured
from distill_jobs.evaluation.painting import Solution
from distill_jobs.evaluation.plan import Plan
from distill_jobs.evaluation.table import Number
from sampling import SOLVERS, decode
from sampling.contenders import Contender
from sampling.metrics import Reading


class Ruler:
    """The teacher's solution as pictures and readings, decoded and read once."""

    def __init__(self, pipe: Any, plan: Plan, solution: Solution) -> None:
        self.pipe, self.plan, self.solution = pipe, plan, solution
        self.pictures = self._decoded(solution.endpoints)
        self.readings = self._read(self.pictures)

    def measure(self, contender: Contender, latents: Tensor) -> Measured:
        """Every measure that has a meaning for what `contender` painted: endpoints (N, C, h, w)."""
        seed, pictures = self.plan.settings.seed, self._decoded(latents)
        found: dict[str, Any] = {}
        if not SOLVERS[contender.solver].injects_noise(contender.steps, contender.eta):
            found["endpoint_error"] = measures.endpoint_errors(latents, self.solution.endpoints)
        readings = self._read(pictures)
        if readings:
            found["judge_agreement"] = measures.right(readings, self.readings)
        if self.plan.truths is not None:
            found["judge_accuracy"] = measures.right(readings, self.plan.truths)
        found |= self.plan.perceptual.of_each(pictures, self.plan.exam.prompts)
        found["sharpness"] = measures.sharpness(pictures, self.pictures)
        found["sliced_wasserstein"] = measures.sliced_wasserstein(pictures, self.pictures, seed)
        return found | self.plan.perceptual.of_the_set(pictures, self.pictures)

    def consistency(self, estimates: Tensor) -> Measured:
        """Of f (T, N, C, h, w) along the teacher's trajectories."""
        return {"self_consistency": measures.self_consistency(estimates, self.solution.endpoints)}

    def zero(self) -> Measured:
        """Of the predictor that answers 0 to everything."""
        nothing = torch.zeros_like(self.solution.endpoints)
        return {"endpoint_error": measures.endpoint_errors(nothing, self.solution.endpoints)}

    def numbers(self, measured: Measured) -> dict[str, Number]:
        """The means with their intervals."""
        seed = self.plan.settings.seed
        return {
            name: Number(value) if isinstance(value, float) else Number(*measures.interval(value, seed))
            for name, value in measured.items()
        }

    def _decoded(self, latents: Tensor) -> list[Image]:
        return decode(self.pipe, latents.to(self.pipe.device, self.pipe.vae.dtype))

    def _read(self, pictures: Sequence[Image]) -> list[Reading]:
        return [] if self.plan.judge is None else list(self.plan.judge.read(pictures))

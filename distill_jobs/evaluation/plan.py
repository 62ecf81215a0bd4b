"""What an evaluation depends on beside the student's weights: made once, before the training begins."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distill_jobs.errors import EvaluationRefused
from distill_jobs.evaluation.exam import Exam, Truth, draw_exam, read_truths
from distill_jobs.evaluation.perceptual import Perceptual
from distill_jobs.evaluation.settings import EvaluationSettings
from distill_jobs.material.cache import weights_digest
from distill_jobs.training.compute import ComputeSettings
from distill_jobs.training.processes import company
from sampling import Judge
from sampling.base import networks
from sampling.contenders import Contender, baselines

CHANGES_NO_NUMBER = {"every", "best_by", "keep_best", "export", "prompts", "features", "clip"}
"""Settings that say when and what for, or whose contents stand in the digest in their stead."""


@dataclass(frozen=True)
class Plan:
    """The exam, what it is marked with, and against whom; `digest` is of all of them and of the frozen base."""

    settings: EvaluationSettings
    exam: Exam
    guidance: float
    judge: Judge | None
    truths: tuple[Truth, ...] | None
    perceptual: Perceptual
    digest: str

    @property
    def teacher(self) -> Contender:
        """The frozen base's many-step solution."""
        return Contender("teacher", "ddim", self.settings.teacher_steps, self.guidance)

    def baselines(self) -> list[Contender]:
        """The classical solvers on the frozen base, at every cost that the student is painted at."""
        settings = self.settings
        return [
            contender
            for evaluations in settings.steps
            for contender in baselines(
                evaluations, self.guidance - 1, settings.solvers, settings.spacings, settings.guidances
            )
        ]

    def students(self, guidance: float) -> list[Contender]:
        """The student by LCM, and from 2 steps on by TCD without noise, which has one endpoint to compare."""
        steps = self.settings.steps
        lcm = [Contender("student", "lcm", count, guidance) for count in steps]
        return lcm + [Contender("student", "tcd", count, guidance) for count in steps if count > 1]


def plan_evaluation(
    pipe: Any,
    captions: Sequence[str],
    settings: EvaluationSettings,
    compute: ComputeSettings,
    *,
    guidance: float,
    judge: Judge | None,
) -> Plan | None:
    """The plan for `pipe`, still as it was loaded; None when nothing is to be evaluated by this process.

    `guidance` is the teacher's where the settings name none.

    Raises EvaluationRefused for prompts, a truth, networks or a ranking measure that cannot be had here.
    """
    if not settings.every or not company().leads:
        return None
    exam = draw_exam(settings, captions)
    if settings.truth is not None and judge is None:
        raise EvaluationRefused(f"truth {settings.truth!r}: this base carries no judge to read pictures; leave it out")
    truths = None if settings.truth is None or judge is None else read_truths(exam.prompts, settings.truth, judge.heads)
    perceptual = Perceptual(settings.features, settings.clip)
    _require_ranking(settings, judge, perceptual)
    chosen = settings.guidance or guidance
    numbers = settings.model_dump(mode="json", exclude=CHANGES_NO_NUMBER)
    judged = None if judge is None else weights_digest(judge.network)
    computed = compute.model_dump(mode="json", include=set(ComputeSettings.model_fields))
    parts = [numbers, asdict(exam), chosen, judged, perceptual.digest, computed, _base(pipe)]
    return Plan(settings, exam, chosen, judge, truths, perceptual, digest_of(*parts))


def digest_of(*parts: object) -> str:
    """SHA-256 of the parts as JSON."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _base(pipe: Any) -> list[object]:
    return [dict(pipe.scheduler.config), [weights_digest(network) for network in networks(pipe).values()]]


def _require_ranking(settings: EvaluationSettings, judge: Judge | None, perceptual: Perceptual) -> None:
    measure = settings.best_by.rpartition("/")[2]
    lacking = {
        "judge_agreement": None if judge else "this base carries no judge",
        "judge_accuracy": None if settings.truth else "truth is not given",
        "fid": None if "fid" in perceptual.measures else "features is not given",
        "kid": None if "kid" in perceptual.measures else "features is not given",
        "clip_score": None if "clip_score" in perceptual.measures else "clip is not given",
    }.get(measure)
    if lacking:
        raise EvaluationRefused(f"best_by {settings.best_by}: {lacking}, so {measure} cannot rank checkpoints")

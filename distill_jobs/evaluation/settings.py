"""How a distillation is measured at its checkpoints. Unknown keys are refused, and so is an order that does nothing."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sampling.contenders import EVALUATIONS

BaselineSolver = Literal["ddim", "dpm", "dpm++", "euler", "unipc"]
"""Solvers that add no noise of their own, so that they have one endpoint."""

STUDENT = "student"
"""Whom the measures belong to that no solver takes part in."""

LOWER_IS_BETTER = frozenset({"endpoint_error", "self_consistency", "sliced_wasserstein", "fid", "kid"})
HIGHER_IS_BETTER = frozenset({"judge_agreement", "judge_accuracy", "clip_score"})


class EvaluationSettings(BaseModel):
    """What is measured, when, against whom, and what is kept and exported because of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(0, ge=0, description="steps between evaluations, each at a checkpoint; 0: none")
    pictures: int = Field(64, ge=2)
    prompts: tuple[str, ...] = Field((), description="default: captions of the data set, drawn by the seed")
    seed: int = Field(0, ge=0, description="of the captions, the noises and the intervals")
    steps: tuple[int, ...] = Field(EVALUATIONS, min_length=1)
    teacher_steps: int = Field(50, ge=2, description="DDIM steps of the teacher's solution")
    guidance: float | None = Field(None, ge=1, description="the teacher's; default: w + 1")
    solvers: tuple[BaselineSolver, ...] = Field(("ddim", "dpm", "dpm++"), description="baselines")
    spacings: tuple[Literal["trailing", "leading", "linspace"], ...] = Field(("trailing", "leading"), min_length=1)
    guidances: tuple[float, ...] | None = Field(None, min_length=1, description="baselines'; default: 1, 2, w + 1")
    points: int = Field(10, ge=2, description="places on the teacher's trajectory where self-consistency is measured")
    truth: str | None = Field(None, description='how prompts say what the judge reads: "a {colour} {shape}"')
    features: Path | None = Field(None, description="folder or file of FID's and KID's feature extractor")
    clip: Path | None = Field(None, description="folder of the CLIP score's model")
    best_by: str = Field("tcd-4/endpoint_error", description="the measure that ranks checkpoints: solver-steps/measure")
    keep_best: int = Field(1, ge=0, description="checkpoints")
    export: Literal["last", "best"] = "last"

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        idle = [name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default]
        if not self.every and idle:
            raise ValueError(f"every is 0, so nothing is evaluated and {', '.join(idle)} would do nothing; set every")
        return self

    @model_validator(mode="after")
    def _ranks_by_a_measure(self) -> Self:
        names = measures_of(self.steps)
        if self.every and self.best_by not in names:
            raise ValueError(f"best_by is {self.best_by!r}, expected one of {', '.join(sorted(names))}")
        if self.export == "best" and not self.keep_best:
            raise ValueError("export is best, but keep_best is 0, so there would be none; keep at least one")
        return self

    def is_due(self, step: int, last: int) -> bool:
        """Whether the weights after `step` of `last` are measured."""
        return self.every > 0 and (step % self.every == 0 or step == last)


def measures_of(steps: tuple[int, ...]) -> set[str]:
    """What can rank checkpoints that are painted with `steps`: solver-steps/measure."""
    found = {f"{STUDENT}/self_consistency"}
    for count in steps:
        anyone = (LOWER_IS_BETTER | HIGHER_IS_BETTER) - {"self_consistency"}
        found |= {f"lcm-{count}/{name}" for name in anyone if count == 1 or name != "endpoint_error"}
        found |= {f"tcd-{count}/{name}" for name in anyone if count > 1}
    return found


def score_of(measure: str, value: float) -> float:
    """`value` so that lower is better."""
    return value if measure.rpartition("/")[2] in LOWER_IS_BETTER else -value

"""What every training accepts: the optimisation, its checkpoints and its sample strip. Unknown keys are refused."""

from typing import Literal, Self

from pydantic import Field, model_validator

from distill_jobs.training.compute import ComputeSettings

BESIDE_THE_RESULT = {
    "checkpoint_every",
    "keep_last",
    "evaluation",
    "sample_every",
    "sample_prompts",
    "sample_guidance",
    "layout",
    "trajectory_check_every",
}
"""Settings of any training that change what is written and shown, not what is learned."""


class TrainingSettings(ComputeSettings):
    """The settings that all kinds of training share."""

    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0, description="default: the rank, so that the scale is 1")
    steps: int = Field(400, ge=1)
    batch: int = Field(32, ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="how the rate falls after warm-up")
    warmup: int = Field(20, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0)
    gradient_clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    ema_rate: float = Field(0.0, ge=0, lt=1, description="0: export the last weights; above: their moving average")
    seed: int = Field(0, ge=0)
    checkpoint_every: int = Field(100, ge=1, description="steps")
    keep_last: int = Field(0, ge=0, description="checkpoints kept beside the one that a training resumes from")
    sample_every: int = Field(0, ge=0, description="steps between strips; 0: none")
    sample_prompts: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _strip_has_prompts(self) -> Self:
        if self.sample_every and not self.sample_prompts:
            raise ValueError(f"sample_every is {self.sample_every}, but sample_prompts names nothing to paint")
        return self

    @model_validator(mode="after")
    def _parts_are_equal(self) -> Self:
        if self.batch % self.parts:
            raise ValueError(
                f"batch {self.batch} cannot be cut into {self.processes} processes x {self.accumulate} parts of one "
                f"size; give a multiple of {self.parts}"
            )
        return self

    def of_the_result(self) -> dict[str, object]:
        """The settings that the trained weights depend on."""
        return self.model_dump(mode="json", exclude=BESIDE_THE_RESULT)

"""What every training accepts: the optimisation, its checkpoints and its sample strip. Unknown keys are refused."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from distill_jobs.export import ExportLayout
from distill_jobs.training.compute import ComputeSettings
from formats import Layout

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


class VectorSettings(TrainingSettings):
    """The settings of every training of a LoRA."""

    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0, description="default: the rank, so that the scale is 1")
    layout: ExportLayout = Layout.KOHYA

    @property
    def effective_alpha(self) -> float:
        """Alpha, the rank where none is given."""
        return self.alpha or float(self.rank)


class ConsistencySettings(TrainingSettings):
    """The settings of every training of a consistency function."""

    num_ddim_timesteps: int = Field(50, ge=1, le=1000, description="solver steps from noise to picture")
    loss: Literal["l2", "huber"] = "huber"
    huber_c: float = Field(1e-3, gt=0)
    noise_weighting: float = Field(0.0, description="the loss of a timestep is weighted by sigma ** this, mean 1")
    caption_dropout: float = Field(0.0, ge=0, le=1, description="share of captions replaced by the empty one")


class ConsistencyVectorSettings(VectorSettings, ConsistencySettings):
    """The settings of every training of a LoRA that is a consistency function together with its base."""

    @model_validator(mode="before")
    @classmethod
    def _guidance_is_no_range(cls, values: Any) -> Any:
        if given := sorted({"w_min", "w_max"} & set(values)):
            raise ValueError(
                f"{' and '.join(given)}: a LoRA's U-Net is not told w, so on a range of w it would learn the average "
                "over it; give one w, or distil a U-Net that is told: tau distill lcd"
            )
        return values


class TargetSettings(TrainingSettings):
    """The settings of every training towards a target network."""

    target_rate: float = Field(
        0.95, ge=0, lt=1, description="mu of the target's moving average; 0: the target is the student itself"
    )


class EmbeddedGuidanceSettings(TrainingSettings):
    """The settings of every training of a U-Net that is told its guidance: a range, drawn from for each picture."""

    w_min: float = Field(2.0, ge=0, description="least guidance of the LCM form; Imagen's scale is 1 more")
    w_max: float = Field(14.0, ge=0, description="most guidance of the LCM form; Imagen's scale is 1 more")
    sample_guidance: float | None = Field(
        None, ge=1, description="guidance scale (w + 1) of the sample strip; default: the middle of the range"
    )

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if self.w_min > self.w_max:
            raise ValueError(f"w_min {self.w_min:g} is above w_max {self.w_max:g}")
        return self

    @property
    def strip_guidance(self) -> float:
        """The guidance scale (w + 1) at which strips are painted."""
        return self.sample_guidance or (self.w_min + self.w_max) / 2 + 1

"""How a training computes: precision, device, memory, kernels, processes. No torch, so that faces can check it."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ComputeSettings(BaseModel):
    """The settings that trade exactness to the last bit, memory and time, but aim at the same optimisation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dtype: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the frozen base; what is trained stays fp32")
    device: str = Field("cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$")
    processes: int = Field(1, ge=1, description="each takes its share of every batch, on a device of its own")
    accumulate: int = Field(1, ge=1, description="parts of a batch, one after another: less memory, the same gradient")
    gradient_checkpointing: bool = Field(False, description="compute activations twice instead of keeping them")
    channels_last: bool = False
    attention: Literal["sdpa", "math"] = Field("sdpa", description="math: written out, for comparison")
    optimiser: Literal["adamw", "adamw-fused", "adamw-8bit"] = "adamw"
    compile: Literal["off", "inductor", "aot_eager"] = Field("off", description="aot_eager: traced, not translated")

    @property
    def parts(self) -> int:
        """Into how many parts every batch is cut."""
        return self.processes * self.accumulate

    @model_validator(mode="after")
    def _every_process_has_a_device(self) -> Self:
        if self.processes > 1 and self.device not in ("cpu", "cuda"):
            raise ValueError(f"device {self.device} is one, for {self.processes} processes; give cuda or cpu")
        return self

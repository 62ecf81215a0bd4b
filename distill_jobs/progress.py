"""What a training tells while it runs, and what it asks; no torch, so that supervisors and other jobs can speak it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Progress:
    """How far a job is, after `step` of `steps`; `strip` is the picture repainted at this step, if any.

    `metrics` are the numbers measured at this step, by name. Painting has neither a loss nor a learning rate.
    """

    step: int
    steps: int
    loss: float | None
    learning_rate: float | None
    eta_seconds: float
    strip: Path | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    """What is being done, for people."""


Report = Callable[[Progress], None]
"""Called after every step."""

Cancelled = Callable[[], str | None]
"""Why to stop now, or None; asked before every step."""

"""Who competes in a table of few-step quality: a role, and how it paints. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["teacher", "student", "composition", "acceleration", "baseline"]

BASELINE_SOLVERS = ("ddim", "dpm", "dpm++", "unipc")
BASELINE_SPACINGS = ("trailing", "leading")
EVALUATIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Contender:
    """Who competes in one row of the table: a role and how it paints."""

    role: Role
    solver: str
    steps: int
    guidance: float
    spacing: str = "trailing"
    eta: float = 0.0

    @property
    def evaluations(self) -> int:
        """U-Net passes of one picture; a student has its guidance in its weights, or is told it."""
        return self.steps * (2 if self.guidance > 1 and self.role != "student" else 1)


def baselines(
    evaluations: int,
    w: float,
    solvers: Sequence[str] = BASELINE_SOLVERS,
    spacings: Sequence[str] = BASELINE_SPACINGS,
    guidances: Sequence[float] | None = None,
) -> list[Contender]:
    """Every baseline that costs `evaluations`: solver x spacing x guidance, by default {1, 2, w + 1}."""
    found = []
    for guidance in dict.fromkeys((1.0, 2.0, w + 1) if guidances is None else guidances):
        cost = 2 if guidance > 1 else 1
        if evaluations % cost == 0:
            found += [
                Contender("baseline", solver, evaluations // cost, guidance, spacing)
                for solver in solvers
                for spacing in spacings
            ]
    return found

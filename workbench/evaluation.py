"""Measures what a base with vectors paints, by the judge that the base carries: one row a (style, solver, steps).

Protocol: the same prompts and the same noises for every row; evaluations count the conditional and the unconditional
U-Net pass of guided solvers as two; the endpoint error is against the styled teacher's endpoint from the same noise.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from PIL import Image
    from sampling import Judge
    from torch import Tensor

Role = Literal["teacher", "composition", "acceleration", "baseline"]

TEACHER_STEPS = 50
BASELINE_SOLVERS = ("ddim", "dpm", "dpm++", "unipc")
SPACINGS = ("trailing", "leading")
EVALUATIONS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Sampling:
    """How to paint: what one row of the table varies."""

    role: Role
    solver: str
    steps: int
    guidance: float
    spacing: str = "trailing"
    eta: float = 0.0

    @property
    def evaluations(self) -> int:
        """U-Net passes of one picture."""
        return self.steps * (2 if self.guidance > 1 else 1)


@dataclass(frozen=True)
class Exam:
    """The pictures to paint: prompts, their noises and what the judge should read in each."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    truths: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Outcome:
    """One row: what was painted how, and how well. `right` says for each picture whether all heads are."""

    sampling: Sampling
    style: str
    seed: int
    recipe: str
    attribute_accuracy: float
    style_accuracy: float
    joint_accuracy: float
    endpoint_error: float | None
    seconds: float
    right: tuple[bool, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The row as `tau demo --json` prints it."""
        row = {key: value for key, value in asdict(self).items() if key not in ("sampling", "right")}
        how = asdict(self.sampling)
        return {"role": how.pop("role"), **row, **how, "evaluations": self.sampling.evaluations}


def exam(style: str, *, noises: int, seed: int) -> Exam:
    """Every caption of the shapes world with `noises` noises each; seeds differ between exams of different `seed`."""
    from demo import all_attributes, caption

    every = all_attributes() * noises
    first = (seed + 1) * 1_000_000
    return Exam(
        prompts=tuple(caption(attributes) for attributes in every),
        seeds=tuple(range(first, first + len(every))),
        truths=tuple({**attributes._asdict(), "style": style} for attributes in every),
    )


def teacher(w: float) -> Sampling:
    """The styled teacher: DDIM-50 at guidance w + 1."""
    return Sampling("teacher", "ddim", TEACHER_STEPS, w + 1)


def baselines(evaluations: int, w: float, solvers: Sequence[str] = BASELINE_SOLVERS) -> list[Sampling]:
    """Every baseline that costs `evaluations`: solver x spacing x guidance {1, 2, w + 1}."""
    found = []
    for guidance in (1.0, 2.0, w + 1):
        cost = 2 if guidance > 1 else 1
        if evaluations % cost == 0:
            found += [
                Sampling("baseline", solver, evaluations // cost, guidance, spacing)
                for solver in solvers
                for spacing in SPACINGS
            ]
    return found


class Examiner:
    """Paints exams on one pipeline and reads them with its judge; remembers each style's teacher endpoint."""

    def __init__(self, pipe: "StableDiffusionPipeline", judge: "Judge", *, memory: Path | None = None) -> None:
        self.pipe, self.judge, self.memory = pipe, judge, memory

    def examine(
        self,
        sampling: Sampling,
        questions: Exam,
        *,
        style: str,
        seed: int,
        recipe: str,
        strengths: Mapping[str, float],
        reference: "Tensor | None" = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> tuple[Outcome, "Tensor", "list[Image.Image]"]:
        """Paint `questions` with `strengths` and judge the pictures: the row, the endpoints and the pictures."""
        from sampling import accuracy, joint_right, paint, set_strengths

        set_strengths(self.pipe, strengths)
        painting = paint(
            self.pipe,
            questions.prompts,
            solver=sampling.solver,
            steps=sampling.steps,
            guidance=sampling.guidance,
            spacing=sampling.spacing,
            eta=sampling.eta,
            seeds=questions.seeds,
            on_step=on_step,
        )
        readings = self.judge.read(painting.images)
        scores = accuracy(readings, questions.truths)
        outcome = Outcome(
            sampling=sampling,
            style=style,
            seed=seed,
            recipe=recipe,
            attribute_accuracy=scores["attribute"],
            style_accuracy=scores["style"],
            joint_accuracy=scores["joint"],
            endpoint_error=_endpoint_error(sampling, painting.latents, reference),
            seconds=painting.seconds,
            right=tuple(bool(value) for value in joint_right(readings, questions.truths)),
        )
        return outcome, painting.latents, painting.images


def _endpoint_error(sampling: Sampling, latents: "Tensor", reference: "Tensor | None") -> float | None:
    """Against `reference`, for solvers that inject no noise (a single LCM step injects none)."""
    from sampling import SOLVERS, endpoint_error

    if reference is None:
        return 0.0 if sampling.role == "teacher" else None
    if sampling.steps > 1 and not SOLVERS[sampling.solver].deterministic:
        return None
    return endpoint_error(latents, reference)

"""Measures what a base with vectors paints, by the judge that the base carries: one row a (style, solver, steps).

Protocol: the same prompts and the same noises for every row; evaluations count the conditional and the unconditional
U-Net pass of guided solvers as two; the endpoint error is against the styled teacher's endpoint from the same noise.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sampling.contenders import EVALUATIONS, Contender, baselines

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from torch import Tensor

    from arithmetic import Vector
    from sampling import Judge, Painting
    from sampling.painting import OnStep

__all__ = ["EVALUATIONS", "Contender", "Exam", "Examiner", "Ledger", "Score", "baselines", "exam", "teacher"]

TEACHER_STEPS = 50


@dataclass(frozen=True)
class Exam:
    """The pictures to paint: prompts, their noises and what the judge should read in each."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    truths: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Score:
    """One row: what was painted how, and how well. `right` says for each picture whether all heads are."""

    contender: Contender
    style: str
    seed: int
    recipe: str
    attribute_accuracy: float
    style_accuracy: float | None
    joint_accuracy: float
    endpoint_error: float | None
    seconds: float
    right: tuple[bool, ...] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """The row as `tau demo --json` prints it."""
        row = {key: value for key, value in asdict(self).items() if key not in ("contender", "right")}
        how = asdict(self.contender)
        return {"role": how.pop("role"), **row, **how, "evaluations": self.contender.evaluations}


def exam(style: str | None, *, noises: int, seed: int) -> Exam:
    """Every caption of the shapes world with `noises` noises each; seeds differ between exams of different `seed`.

    Without a `style` the pictures' style is not asked for.
    """
    from demo import all_attributes, caption

    every = all_attributes() * noises
    first = (seed + 1) * 1_000_000
    return Exam(
        prompts=tuple(caption(attributes) for attributes in every),
        seeds=tuple(range(first, first + len(every))),
        truths=tuple(attributes._asdict() | ({} if style is None else {"style": style}) for attributes in every),
    )


def teacher(w: float) -> Contender:
    """The styled teacher: DDIM-50 at guidance w + 1."""
    return Contender("teacher", "ddim", TEACHER_STEPS, w + 1)


class Ledger:
    """What was measured so far, one JSON line a row, by the digest of everything that a row depends on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self._rows: dict[str, dict[str, Any]] = {row["key"]: row["score"] for row in map(json.loads, lines)}

    def find(self, key: str) -> Score | None:
        """The score kept under `key`, if any."""
        row = self._rows.get(key)
        if row is None:
            return None
        return Score(**{**row, "contender": Contender(**row["contender"]), "right": tuple(row["right"])})

    def keep(self, key: str, score: Score) -> None:
        """Keep `score` under `key`, on disk at once."""
        self._rows[key] = asdict(score)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write(json.dumps({"key": key, "score": asdict(score)}) + "\n")


class Examiner:
    """Paints exams on one base and reads them with its judge; what was measured once is found again in `folder`."""

    def __init__(self, pipe: "StableDiffusionPipeline", judge: "Judge", *, base: str, folder: Path) -> None:
        self.pipe, self.judge, self.base, self.folder = pipe, judge, base, folder
        self.digests: dict[str, str] = {}
        self.ledger = Ledger(folder / "scores.jsonl")

    def attach(self, vector: "Vector", digest: str) -> None:
        """Load `vector` beside the base under its own name, in place of another of that name; strength 0 at first."""
        from sampling import attach, detach

        if vector.name in self.digests:
            detach(self.pipe, vector.name)
        attach(self.pipe, {vector.name: vector})
        self.digests[vector.name] = digest

    def examine(
        self,
        contender: Contender,
        questions: Exam,
        *,
        style: str,
        seed: int,
        strengths: Mapping[str, float],
        on_step: "OnStep | None" = None,
    ) -> Score:
        """Paint `questions` with `strengths` and judge the pictures; or find that this was done before.

        The endpoint error is given once the style's teacher was examined on the same questions.
        """
        how = asdict(contender)
        key = self._key(how=how, style=style, strengths=strengths, questions=asdict(questions))
        found = self.ledger.find(key)
        if found is not None:
            return replace(found, seed=seed)
        painting = self._paint(contender, questions, strengths, on_step)
        if contender.role == "teacher":
            self._keep_endpoints(questions, style, painting.latents)
        score = self._judge(contender, questions, painting, style=style, seed=seed, strengths=strengths)
        self.ledger.keep(key, score)
        return score

    def _paint(
        self, contender: Contender, questions: Exam, strengths: Mapping[str, float], on_step: "OnStep | None"
    ) -> "Painting":
        from sampling import paint, set_strengths

        set_strengths(self.pipe, strengths)
        return paint(
            self.pipe,
            questions.prompts,
            solver=contender.solver,
            steps=contender.steps,
            guidance=contender.guidance,
            spacing=contender.spacing,
            eta=contender.eta,
            seeds=questions.seeds,
            on_step=on_step,
        )

    def _judge(
        self,
        contender: Contender,
        questions: Exam,
        painting: "Painting",
        *,
        style: str,
        seed: int,
        strengths: Mapping[str, float],
    ) -> Score:
        from sampling import accuracy, joint_right

        readings = self.judge.read(painting.images)
        scores = accuracy(readings, questions.truths)
        return Score(
            contender=contender,
            style=style,
            seed=seed,
            recipe=" + ".join(f"{weight:g}*{name}" for name, weight in strengths.items()),
            attribute_accuracy=scores["attribute"],
            style_accuracy=scores["style"],
            joint_accuracy=scores["joint"],
            endpoint_error=self._endpoint_error(contender, painting.latents, questions, style),
            seconds=painting.seconds,
            right=tuple(bool(value) for value in joint_right(readings, questions.truths)),
        )

    def _endpoint_error(self, contender: Contender, latents: "Tensor", questions: Exam, style: str) -> float | None:
        """Against the teacher's endpoints from the same noises, for solvers that inject no noise of their own."""
        from safetensors.torch import load_file

        from sampling import SOLVERS, endpoint_error

        path = self._endpoints(questions, style)
        if SOLVERS[contender.solver].injects_noise(contender.steps, contender.eta) or not path.exists():
            return None
        return endpoint_error(latents, load_file(path)["endpoints"])

    def _keep_endpoints(self, questions: Exam, style: str, latents: "Tensor") -> None:
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        save_file({"endpoints": latents.contiguous()}, self._endpoints(questions, style))

    def _endpoints(self, questions: Exam, style: str) -> Path:
        vector = self.digests.get(style)
        name = self._key(teacher=TEACHER_STEPS, vector=vector, prompts=questions.prompts, seeds=questions.seeds)
        return self.folder / f"endpoints-{name[:16]}.safetensors"

    def _key(self, **parts: Any) -> str:
        if "strengths" in parts:
            parts["strengths"] = {name: [value, self.digests[name]] for name, value in parts["strengths"].items()}
        text = json.dumps([self.base, parts], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

"""The main claim on the shapes world, seeds 0, 1, 2: `python -m benchmarks.reproduction --out docs/reproduction.md`.

For each seed an acceleration vector is distilled; for each style the lambdas and the best baselines are chosen on one
set of noises and everything is then measured on another (576 pictures: four noises a caption), with paired bootstrap
intervals. Results are kept row by row under --work, so that an interrupted run goes on where it stopped.
"""

import argparse
import hashlib
import itertools
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arithmetic import open_vector
from benchmarks.reproduction_report import LambdaGrid, Row, write_report
from demo import base_folder, style_files, tuning, write_dataset
from distill_jobs.data.dataset import read_dataset
from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
from distill_jobs.progress import Progress
from formats import architecture_of_folder
from sampling import load_judge, load_pipeline
from workbench.demo.evaluation import EVALUATIONS, Contender, Exam, Examiner, Score, baselines, exam, teacher

SEEDS = (0, 1, 2)
NOISES = 4
LAMBDA_STYLE = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
LAMBDA_LCM = (0.85, 1.0)
TUNING_SEED = 1000
TUNING_NOISES = 2
MEASURED_SEED = 0
"""Of the noises that everything is measured on: the same for every distillation, so that the rest is painted once."""


@dataclass(frozen=True)
class Plan:
    """What one reproduction does."""

    seeds: tuple[int, ...]
    styles: tuple[str, ...]
    noises: int
    distillation: dict[str, Any]

    @property
    def w(self) -> float:
        """Guidance of the distillation in the LCM form; the teacher's guidance is w + 1."""
        return float(self.distillation["w"])


class Laboratory:
    """The base, its judge and the vectors, and where results are kept."""

    def __init__(self, plan: Plan, work: Path) -> None:
        self.plan, self.work = plan, work
        self.architecture = architecture_of_folder(base_folder(), "shapes")
        self.base = _content(base_folder())
        self.examiner = Examiner(
            load_pipeline(base_folder()), load_judge(base_folder()), base=self.base, folder=work / "exams"
        )
        self.grids: list[LambdaGrid] = []
        for style in plan.styles:
            self._attach(style, style_files()[style])

    def attach_acceleration(self, seed: int) -> None:
        """Distil (or find) the acceleration vector of `seed` and load it as "lcm"."""
        self._attach("lcm", self.distilled(seed))

    def _attach(self, name: str, path: Path) -> None:
        self.examiner.attach(open_vector(path, self.architecture, name=name), _content(path))

    def distilled(self, seed: int) -> Path:
        """The acceleration vector distilled with `seed` on flat pictures."""
        settings = LcdLoraSettings(**self.plan.distillation, seed=seed)
        digest = hashlib.sha256((settings.model_dump_json() + self.base).encode()).hexdigest()
        folder = self.work / f"lcd-{seed}-{digest[:12]}"
        result = folder / "acceleration.safetensors"
        if result.exists():
            return result
        data = write_dataset(self.work / f"flat-{seed}", "flat", count=2000, seed=seed)
        pipe = load_pipeline(base_folder())
        return distil(pipe, read_dataset(data), settings, folder=folder, report=_say, cancelled=lambda: None)

    def measure(
        self, contender: Contender, questions: Exam, *, style: str, seed: int, strengths: dict[str, float]
    ) -> Score:
        """One row, said aloud."""
        score = self.examiner.examine(contender, questions, style=style, seed=seed, strengths=strengths)
        error = "" if score.endpoint_error is None else f" endpoint error {score.endpoint_error:.3f}"
        how = f"{contender.solver} {contender.steps} steps, guidance {contender.guidance:g}, {contender.spacing}"
        print(f"seed {seed} {style} {score.recipe} {how}: joint {score.joint_accuracy:.3f}{error}", flush=True)
        return score


def choose_strengths(lab: Laboratory, style: str, seed: int) -> tuple[float, float]:
    """lambda_1 and lambda_2 of the best 4-step composition on the tuning noises."""
    questions = exam(style, noises=TUNING_NOISES, seed=TUNING_SEED + seed)
    how = Contender("composition", "lcm", 4, 1.0)
    scores = {
        (first, second): lab.measure(
            how, questions, style=style, seed=seed, strengths={style: first, "lcm": second}
        ).joint_accuracy
        for first, second in itertools.product(LAMBDA_STYLE, LAMBDA_LCM)
    }
    lab.grids.append(LambdaGrid(seed, style, scores))
    return max(scores, key=lambda pair: _smoothed(scores, pair))


def _smoothed(scores: dict[tuple[float, float], float], pair: tuple[float, float]) -> float:
    """A cell's score averaged with its neighbours' mean, so that one lucky cell cannot win alone."""
    near = [v for (a, b), v in scores.items() if abs(a - pair[0]) < 0.11 and abs(b - pair[1]) < 0.16]
    return (scores[pair] + sum(near) / len(near)) / 2


def contenders(w: float) -> tuple[list[Contender], list[Contender]]:
    """What the composition is painted with, and what the style vector alone is painted with: the teacher first."""
    compositions = [Contender("composition", solver, n, 1.0) for solver in ("lcm", "tcd") for n in EVALUATIONS]
    return compositions, [teacher(w), *(rival for n in EVALUATIONS for rival in baselines(n, w))]


def measure_all(lab: Laboratory) -> Iterator[Row]:
    """Every row of the report: teacher, baselines, compositions, for each seed and style."""
    compositions, alone = contenders(lab.plan.w)
    for seed in lab.plan.seeds:
        lab.attach_acceleration(seed)
        for style in lab.plan.styles:
            pair = choose_strengths(lab, style, seed)
            questions = exam(style, noises=lab.plan.noises, seed=MEASURED_SEED)
            both = {style: pair[0], "lcm": pair[1]}
            for contender, strengths in [*((s, {style: 1.0}) for s in alone), *((s, both) for s in compositions)]:
                score = lab.measure(contender, questions, style=style, seed=seed, strengths=strengths)
                yield {**score.to_json(), "right": score.right, "strengths": strengths}


def _say(progress: Progress) -> None:
    if progress.step % 25 == 0:
        left = f"{progress.eta_seconds:.0f} s to go"
        print(f"distilling: {progress.step} of {progress.steps}, loss {progress.loss:.4f}, {left}", flush=True)


def _content(path: Path) -> str:
    """sha256 over the weight files at `path`."""
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the report; its figures go beside it as JSON")
    parser.add_argument("--work", type=Path, default=Path("build/reproduction"), help="kept rows and vectors")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--styles", nargs="+", default=sorted(style_files()))
    parser.add_argument("--noises", type=int, default=NOISES, help="noises a caption; 4 make 576 pictures")
    options = parser.parse_args()
    plan = Plan(tuple(options.seeds), tuple(options.styles), options.noises, tuning()["distillation"])
    lab = Laboratory(plan, options.work)
    rows = list(measure_all(lab))
    command = shlex.join(["python", "-m", "benchmarks.reproduction", *sys.argv[1:]])
    write_report(options.out, rows, lab.grids, w=plan.w, command=command)


if __name__ == "__main__":
    main()

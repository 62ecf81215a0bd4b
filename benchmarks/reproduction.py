"""The main claim on the shapes world, seeds 0, 1, 2: `python -m benchmarks.reproduction --out docs/reproduction.md`.

For each seed an acceleration vector is distilled; for each style the lambdas and the best baselines are chosen on one
set of noises and everything is then measured on another (576 pictures: four noises a caption), with paired bootstrap
intervals. Results are kept row by row under --work, so that an interrupted run goes on where it stopped.
"""

import argparse
import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from arithmetic import open_vector
from benchmarks.reproduction_report import write_report
from demo import base_folder, style_files, write_dataset
from distill_jobs.dataset import read_dataset
from distill_jobs.lcd_lora import LcdLoraSettings, distil
from formats import architecture_of_folder
from sampling import attach, detach, load_judge, load_pipeline
from workbench.evaluation import EVALUATIONS, Exam, Examiner, Sampling, baselines, exam, teacher

SEEDS = (0, 1, 2)
NOISES = 4
LAMBDA_STYLE = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2)
LAMBDA_LCM = (0.8, 0.9, 1.0)
TUNING_SEED = 1000


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


class Ledger:
    """Rows measured so far, by a key of everything that they depend on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[str, dict[str, Any]] = {row["key"]: row for row in map(json.loads, lines)}

    def find(self, key: dict[str, Any]) -> dict[str, Any] | None:
        """The row measured under `key`, if any."""
        return self.rows.get(_name(key))

    def add(self, key: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        """Keep `row` under `key`, on disk at once."""
        row = {**row, "key": _name(key)}
        self.rows[row["key"]] = row
        with self.path.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        return row


class Laboratory:
    """The base, its judge and the vectors; measures one sampling at one recipe."""

    def __init__(self, plan: Plan, work: Path) -> None:
        self.plan, self.work = plan, work
        work.mkdir(parents=True, exist_ok=True)
        self.pipe = load_pipeline(base_folder())
        self.architecture = architecture_of_folder(base_folder(), "shapes")
        self.examiner = Examiner(self.pipe, load_judge(base_folder()))
        self.ledger = Ledger(work / "rows.jsonl")
        self.digests: dict[str, str] = {"base": _content(base_folder())}

    def attach_styles(self) -> None:
        """Load the style vectors at strength 0."""
        for style in self.plan.styles:
            path = style_files()[style]
            self.digests[style] = _content(path)
            attach(self.pipe, {style: open_vector(path, self.architecture, name=style)})

    def attach_acceleration(self, seed: int) -> None:
        """Distil (or find) the acceleration vector of `seed` and load it as "lcm"."""
        path = self.distilled(seed)
        if "lcm" in self.digests:
            detach(self.pipe, "lcm")
        self.digests["lcm"] = _content(path)
        attach(self.pipe, {"lcm": open_vector(path, self.architecture, name="lcm")})

    def distilled(self, seed: int) -> Path:
        """The acceleration vector distilled with `seed` on flat pictures."""
        settings = LcdLoraSettings(**self.plan.distillation, seed=seed)
        name = _name({"settings": settings.model_dump(mode="json"), "base": self.digests["base"]})[:12]
        folder = self.work / f"lcd-{seed}-{name}"
        result = folder / "acceleration.safetensors"
        if result.exists():
            return result
        data = write_dataset(self.work / f"flat-{seed}", "flat", count=2000, seed=seed)
        pipe = load_pipeline(base_folder())
        return distil(pipe, read_dataset(data), settings, folder=folder, report=_say, cancelled=lambda: None)

    def measure(
        self, sampling: Sampling, questions: Exam, *, style: str, seed: int, strengths: dict[str, float], note: str
    ) -> dict[str, Any]:
        """One row: from the ledger, or painted and judged now."""
        used = {name: [weight, self.digests[name]] for name, weight in strengths.items()}
        key = {"base": self.digests["base"], "how": asdict(sampling), "vectors": used, "style": style}
        key["questions"] = [questions.prompts, questions.seeds]
        found = self.ledger.find(key)
        if found is not None:
            return found
        recipe = " + ".join(f"{weight:g}*{name}" for name, weight in strengths.items())
        outcome, endpoints, _ = self.examiner.examine(
            sampling,
            questions,
            style=style,
            seed=seed,
            recipe=recipe,
            strengths=strengths,
            reference=self._reference(sampling, questions, style),
        )
        if sampling.role == "teacher":
            save_file({"endpoints": endpoints}, self._endpoints(questions, style))
        row = self.ledger.add(key, {**outcome.to_json(), "note": note, "right": [int(v) for v in outcome.right]})
        error = "" if row["endpoint_error"] is None else f" endpoint {row['endpoint_error']:.3f}"
        print(f"{note} {style} {recipe} {_how(row)} joint {row['joint_accuracy']:.3f}{error}", flush=True)
        return row

    def _reference(self, sampling: Sampling, questions: Exam, style: str) -> torch.Tensor | None:
        """The styled teacher's endpoints from the same noises, once the teacher was measured on them."""
        path = self._endpoints(questions, style)
        if sampling.role == "teacher" or not path.exists():
            return None
        return load_file(path)["endpoints"]

    def _endpoints(self, questions: Exam, style: str) -> Path:
        name = _name({"base": self.digests["base"], "vector": self.digests[style], "w": self.plan.w, "seeds": questions.seeds})
        return self.work / f"endpoints-{name[:16]}.safetensors"


def choose_strengths(lab: Laboratory, style: str, seed: int) -> tuple[float, float]:
    """lambda_1 and lambda_2 of the best 4-step composition on the tuning noises (one a caption)."""
    questions = exam(style, noises=1, seed=TUNING_SEED + seed)
    rows = {
        pair: lab.measure(
            Sampling("composition", "lcm", 4, 1.0),
            questions,
            style=style,
            seed=seed,
            strengths={style: pair[0], "lcm": pair[1]},
            note="tuning",
        )["joint_accuracy"]
        for pair in itertools.product(LAMBDA_STYLE, LAMBDA_LCM)
    }
    return max(rows, key=lambda pair: _smoothed(rows, pair))


def _smoothed(rows: dict[tuple[float, float], float], pair: tuple[float, float]) -> float:
    """Mean over the pair and its neighbours in the grid: one noisy cell cannot win alone."""
    near = [v for (a, b), v in rows.items() if abs(a - pair[0]) < 0.11 and abs(b - pair[1]) < 0.11]
    return sum(near) / len(near) + 0.5 * rows[pair]


def measure_all(lab: Laboratory) -> Iterator[dict[str, Any]]:
    """Every row of the report: teacher, compositions, baselines, for each seed and style."""
    lab.attach_styles()
    for seed in lab.plan.seeds:
        lab.attach_acceleration(seed)
        for style in lab.plan.styles:
            pair = choose_strengths(lab, style, seed)
            questions = exam(style, noises=lab.plan.noises, seed=seed)
            both = {style: pair[0], "lcm": pair[1]}
            compositions = [Sampling("composition", "lcm", n, 1.0) for n in EVALUATIONS]
            compositions += [Sampling("composition", "tcd", n, 1.0) for n in EVALUATIONS]
            rivals = [rival for n in EVALUATIONS for rival in baselines(n, lab.plan.w)]
            plan = [(teacher(lab.plan.w), {style: 1.0})]
            plan += [(s, both) for s in compositions] + [(s, {style: 1.0}) for s in rivals]
            for sampling, strengths in plan:
                row = lab.measure(sampling, questions, style=style, seed=seed, strengths=strengths, note=f"seed {seed}")
                yield {**row, "seed": seed, "strengths": strengths}


def _say(progress: Any) -> None:
    if progress.step % 25 == 0:
        print(f"lcd {progress.step}/{progress.steps} loss {progress.loss:.4f} eta {progress.eta_seconds:.0f} s", flush=True)


def _how(row: dict[str, Any]) -> str:
    return f"{row['solver']} {row['steps']} steps, guidance {row['guidance']:g}, {row['spacing']}"


def _name(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def _content(path: Path) -> str:
    """sha256 over the weight files under `path`."""
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def main() -> None:
    """Measure and write the report."""
    from demo.shipped import tuning

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the report, Markdown; its numbers go beside it as JSON")
    parser.add_argument("--work", type=Path, default=Path("build/reproduction"), help="kept rows and vectors")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--styles", nargs="+", default=sorted(style_files()))
    parser.add_argument("--noises", type=int, default=NOISES, help="noises a caption; 4 make 576 pictures")
    options = parser.parse_args()
    plan = Plan(tuple(options.seeds), tuple(options.styles), options.noises, tuning()["distillation"])
    rows = list(measure_all(Laboratory(plan, options.work)))
    write_report(options.out, rows, w=plan.w)


if __name__ == "__main__":
    main()

"""What a distilled vector is worth at few steps, on the shapes world, for a base that predicts noise and one that
predicts v: three distillations each, beside the teacher from the same noises and the best classical solver at equal
evaluations (its spacing and guidance chosen on the measured pictures themselves, which favours it).

Share: joint accuracy at 4 evaluations over the teacher's (DDIM-50 at guidance w + 1). Endpoint error: the one step's
MSE to the teacher's endpoint from the same noise, over the endpoint's variance; LCM injects fresh noise after its
first step, so for more steps the noise-free TCD (eta 0) stands in. Intervals: 95 %, bootstrap over pictures.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arithmetic import open_vector
from demo import base_folder, tuning, write_dataset, write_velocity_base
from distill_jobs import LcdLoraSettings, LcfLoraSettings, distil, read_dataset, tune_vector
from distill_jobs.adapters import LCD_TARGETS
from distill_jobs.progress import Progress
from formats import architecture_of_folder
from sampling import Settings, attach, decode, denoise, load_judge, load_pipeline, paired_bootstrap, set_strengths
from sampling.metrics import heads_right
from workbench.demo.evaluation import Contender, baselines, exam, teacher

SEEDS = (0, 1, 2)
NOISES = 4
STUDENTS = (
    *(Contender("acceleration", "lcm", n, 1.0) for n in (1, 2, 4, 8)),
    *(Contender("acceleration", "tcd", n, 1.0) for n in (2, 4, 8)),
)
ONE_STEP_GUIDANCES = (1.0, 1.5, 2.0, 3.0, 5.0)
TUNED_STYLE = "outline"
TUNED_SEEDS = (1, 2)
"""Its settings were chosen on seed 0."""
FINE_TUNING = {
    "rank": 16,
    "targets": LCD_TARGETS,
    "steps": 300,
    "batch": 32,
    "learning_rate": 5e-4,
    "ema_rate": 0.95,
    "noise_weighting": -1.0,
}
SHARE_TARGET = 0.9
COMPARED = ("teacher", "baseline", "one-step", "zero")
RESAMPLES = 4000
Row = dict[str, Any]


@dataclass(frozen=True)
class Base:
    """One base of the shapes world: what its network predicts, its folder, and what distils it well."""

    prediction: str
    folder: Path
    distillation: dict[str, Any]


def bases(work: Path) -> tuple[Base, Base]:
    """The shipped base, and the one that predicts v."""
    found = tuning()
    return (
        Base("epsilon", base_folder(), found["distillation"]),
        Base("v_prediction", write_velocity_base(work / "shapes-v"), found["distillation"]),
    )


class Studio:
    """Paints with one base, judges, and keeps each row on disk by all that it depends on."""

    def __init__(self, base: Base, work: Path, noises: int, style: str | None = None) -> None:
        self.base, self.work, self.questions = base, work, exam(style, noises=noises, seed=0)
        self.style = style
        self.pipe, self.judge = load_pipeline(base.folder), load_judge(base.folder)
        self.content = _content(base.folder)
        self.vectors: list[str] = []
        self.w = float(base.distillation["w"])

    def carry(self, *paths: Path) -> None:
        """Paint with those vectors at strength 1 from now on."""
        names = {f"vector-{_content(path)[:8]}": path for path in paths}
        architecture = architecture_of_folder(self.base.folder, "shapes")
        for name, path in names.items():
            if name not in getattr(self.pipe.unet, "peft_config", {}):
                attach(self.pipe, {name: open_vector(path, architecture, name=name)})
        set_strengths(self.pipe, dict.fromkeys(names, 1.0))
        self.vectors = [_content(path) for path in paths]

    def row(self, contender: Contender) -> Row:
        """What that contender paints: which pictures are right, and each one's endpoint error where it has one."""
        key = [self.content, self.vectors, asdict(contender), asdict(self.questions)]
        path = self.work / "rows" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(self._painted(contender)))
        found: Row = json.loads(path.read_text())
        say = f"{self.base.prediction} {contender.solver}-{contender.steps} {contender.spacing} {contender.guidance:g}"
        print(f"{say}: joint {np.mean(found['right']):.3f}, endpoint error {_mean(found['errors'])}", flush=True)
        return found

    def _painted(self, contender: Contender) -> Row:
        settings = Settings(contender.solver, contender.steps, contender.guidance, contender.spacing, contender.eta)
        latents = denoise(self.pipe, self.questions.prompts, self.questions.seeds, settings)
        right = heads_right(self.judge.read(decode(self.pipe, latents)), self.questions.truths)
        if contender.role == "teacher":
            torch.save(latents, self._endpoints)
        has_endpoint = self.style is None and not (contender.solver == "lcm" and contender.steps > 1)
        return {
            **asdict(contender),
            "evaluations": contender.evaluations,
            "right": np.stack([*right.values()]).all(axis=0).tolist(),
            "style_right": right["style"].tolist() if "style" in right else None,
            "errors": self.errors(latents) if has_endpoint else None,
        }

    def errors(self, latents: Tensor) -> list[float]:
        """Each picture's MSE to the teacher's endpoint over the variance of all endpoints; their mean is the error."""
        truth = torch.load(self._endpoints, weights_only=True).double()
        own = (latents.double() - truth).square().flatten(1).mean(1)
        return [float(value) for value in own / truth.var(correction=0)]

    @property
    def _endpoints(self) -> Path:
        self.work.mkdir(parents=True, exist_ok=True)
        return self.work / f"endpoints-{self.base.prediction}-{len(self.questions)}.pt"


def measured(base: Base, work: Path, seeds: Sequence[int], noises: int) -> Iterator[Row]:
    """The rows of one base: teacher, baselines, one-step teachers, and each seed's student."""
    studio = Studio(base, work, noises)
    common = {"prediction": base.prediction}
    yield {**common, "seed": None, **studio.row(teacher(studio.w))}
    zero = torch.zeros(len(studio.questions), 4, 8, 8)
    yield {**common, "seed": None, "role": "zero", "errors": studio.errors(zero)}
    for guidance in ONE_STEP_GUIDANCES:
        row = studio.row(Contender("baseline", "ddim", 1, guidance))
        yield {**common, "seed": None, **row, "role": "one-step"}
    for rival in baselines(4, studio.w):
        yield {**common, "seed": None, **studio.row(rival)}
    for seed in seeds:
        studio.carry(distilled(base, work, seed))
        for student in STUDENTS:
            yield {**common, "seed": seed, **studio.row(student)}


def fine_tuned(base: Base, work: Path, seeds: Sequence[int], noises: int) -> Iterator[Row]:
    """The rows of LCF: four steps of the acceleration vector alone, and with a vector tuned on a style beside it."""
    studio = Studio(base, work, noises, TUNED_STYLE)
    for seed in seeds:
        acceleration = distilled(base, work, seed)
        vector = tuned(base, work, acceleration, seed)
        for role, paths in (("acceleration", (acceleration,)), ("lcf", (acceleration, vector))):
            studio.carry(*paths)
            yield {
                "prediction": "lcf",
                "seed": seed,
                **studio.row(Contender("acceleration", "lcm", 4, 1.0)),
                "role": role,
            }


def tuned(base: Base, work: Path, acceleration: Path, seed: int) -> Path:
    """The style vector that LCF makes beside that acceleration vector, made now or found."""
    settings = LcfLoraSettings(**FINE_TUNING, seed=seed)
    digest = hashlib.sha256((settings.model_dump_json() + _content(acceleration)).encode()).hexdigest()
    folder = work / f"lcf-{seed}-{digest[:12]}"
    if (found := folder / "style.safetensors").exists():
        return found
    data = work / f"{TUNED_STYLE}-{seed}"
    if not (data / "metadata.jsonl").exists():
        write_dataset(data, TUNED_STYLE, count=2000, seed=seed)
    source = open_vector(acceleration, architecture_of_folder(base.folder, "shapes"), name="acceleration")
    silent = {"report": _say, "cancelled": lambda: None}
    return tune_vector(load_pipeline(base.folder), source, read_dataset(data), settings, folder=folder, **silent)


def distilled(base: Base, work: Path, seed: int) -> Path:
    """The acceleration vector of that seed, distilled now or found."""
    settings = LcdLoraSettings(**base.distillation, seed=seed)
    digest = hashlib.sha256((settings.model_dump_json() + _content(base.folder)).encode()).hexdigest()
    folder = work / f"lcd-{base.prediction}-{seed}-{digest[:12]}"
    if (found := folder / "acceleration.safetensors").exists():
        return found
    data = work / f"flat-{seed}"
    if not (data / "metadata.jsonl").exists():
        write_dataset(data, "flat", count=2000, seed=seed)
    silent = {"report": _say, "cancelled": lambda: None}
    return distil(load_pipeline(base.folder), read_dataset(data), settings, folder=folder, **silent)


def figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each student: its accuracies, and how they compare."""
    return [
        student_figures([row for row in rows if row["prediction"] == kind], seed)
        for kind in dict.fromkeys(row["prediction"] for row in rows)
        for seed in dict.fromkeys(row["seed"] for row in rows if row["seed"] is not None)
    ]


def tuned_figures(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """One entry for each seed of LCF: shares of pictures in the style, and right in everything, before and after."""
    return [
        {
            "prediction": "lcf",
            "seed": seed,
            "pictures": len(before["right"]),
            "style": [_share(before["style_right"]), _share(after["style_right"])],
            "style_gain": [*paired_bootstrap(after["style_right"], before["style_right"], seed=0)],
            "joint": [_share(before["right"]), _share(after["right"])],
            "joint_gain": [*paired_bootstrap(after["right"], before["right"], seed=0)],
        }
        for seed in dict.fromkeys(row["seed"] for row in rows)
        for before, after in [[row for row in rows if row["seed"] == seed]]
    ]


def student_figures(rows: Sequence[Row], seed: int) -> dict[str, Any]:
    """The student of that seed beside the teacher, the baselines, the one-step teacher and the zero predictor."""
    own = {(row["solver"], row["steps"]): row for row in rows if row["seed"] == seed}
    by_role = {
        role: [row for row in rows if row["role"] == role] for role in ("teacher", "baseline", "one-step", "zero")
    }
    painted, first, reference = own["lcm", 4], own["lcm", 1], by_role["teacher"][0]
    best = max(by_role["baseline"], key=lambda row: np.mean(row["right"]))
    one_step = min(by_role["one-step"], key=lambda row: np.mean(row["errors"]))
    return {
        "prediction": reference["prediction"],
        "seed": seed,
        "pictures": len(reference["right"]),
        "teacher": _share(reference["right"]),
        "joint": {str(n): _share(own["lcm", n]["right"]) for n in (1, 2, 4, 8)},
        "share": ratio(painted["right"], reference["right"]),
        "best_baseline": {"how": _how(best), "joint": _share(best["right"])},
        "above_baseline": [*paired_bootstrap(painted["right"], best["right"], seed=0)],
        "endpoint_error": [*paired_bootstrap(first["errors"], np.zeros(len(first["errors"])), seed=0)],
        "one_step_teacher": {"how": _how(one_step), "endpoint_error": _share(one_step["errors"])},
        "below_one_step_teacher": [*paired_bootstrap(one_step["errors"], first["errors"], seed=0)],
        "zero": _share(by_role["zero"][0]["errors"]),
        "noise_free": {str(n): _share(own["tcd", n]["errors"]) for n in (2, 4, 8)},
    }


def ratio(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """mean(a) / mean(b) over the same pictures, with its interval."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    rng = np.random.default_rng(0)
    draws = [rng.integers(x.size, size=x.size) for _ in range(RESAMPLES)]
    low, high = np.quantile([x[i].mean() / y[i].mean() for i in draws], [0.025, 0.975])
    return [float(x.mean() / y.mean()), float(low), float(high)]


def print_table(found: Sequence[dict[str, Any]]) -> None:
    """The figures as tables."""
    print_students([row for row in found if row["prediction"] != "lcf"])
    print_tuned([row for row in found if row["prediction"] == "lcf"])


def print_tuned(found: Sequence[dict[str, Any]]) -> None:
    """LCF: what four steps paint before and after it."""
    if not found:
        return
    print()
    print("| LCF on outline, seed | in the style: before, after | gain (aim 0) | joint: before, after | gain |")
    print("|---|---|---|---|---|")
    for row in found:
        style, joint = (f"{row[key][0]:.3f}, {row[key][1]:.3f}" for key in ("style", "joint"))
        print(
            f"| {row['seed']} | {style} | {_aimed(row['style_gain'], 0.0)} | {joint} | {_interval(row['joint_gain'])} |"
        )


def print_students(found: Sequence[dict[str, Any]]) -> None:
    """The distilled vectors beside teacher and baselines."""
    if not found:
        return
    print("| base | seed | teacher | 4 evaluations | share (aim 0.9) | best baseline at 4 | above it by |")
    print("|---|---|---|---|---|---|---|")
    for row in found:
        best = row["best_baseline"]
        print(
            f"| {row['prediction']} | {row['seed']} | {row['teacher']:.3f} | {row['joint']['4']:.3f} "
            f"| {_aimed(row['share'], SHARE_TARGET)} | {best['how']}: {best['joint']:.3f} "
            f"| {_aimed(row['above_baseline'], 0.0)} |"
        )
    print()
    print("| base | seed | LCM 1, 2, 4, 8 | endpoint, 1 step | one-step teacher | below it by | zero | TCD 2, 4, 8 |")
    print("|---|---|---|---|---|---|---|---|")
    for row in found:
        joints = ", ".join(f"{value:.3f}" for value in row["joint"].values())
        clean = ", ".join(f"{value:.3f}" for value in row["noise_free"].values())
        teacher_row = row["one_step_teacher"]
        print(
            f"| {row['prediction']} | {row['seed']} | {joints} | {_interval(row['endpoint_error'])} "
            f"| {teacher_row['how']}: {teacher_row['endpoint_error']:.3f} "
            f"| {_aimed(row['below_one_step_teacher'], 0.0)} | {row['zero']:.3f} | {clean} |"
        )


def _how(row: Row) -> str:
    return f"{row['solver']}-{row['steps']} {row['spacing']}, guidance {row['guidance']:g}"


def _share(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _interval(found: Sequence[float]) -> str:
    return f"{found[0]:.3f} ({found[1]:.3f} to {found[2]:.3f})"


def _aimed(found: Sequence[float], least: float) -> str:
    """Bold where the mean misses its aim."""
    return _interval(found) if found[0] > least else f"**{_interval(found)}**"


def _say(progress: Progress) -> None:
    if progress.step % 50 == 0:
        print(
            f"step {progress.step}/{progress.steps} loss {progress.loss:.4f} eta {progress.eta_seconds:.0f} s",
            flush=True,
        )


def _mean(errors: Sequence[float] | None) -> str:
    return "none" if errors is None else f"{np.mean(errors):.3f}"


def _content(path: Path) -> str:
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors")) + sorted(path.rglob("*_config.json"))
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/few-steps"), help="what is kept between runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--noises", type=int, default=NOISES, help="of each caption; 144 captions")
    parser.add_argument("--only", choices=["epsilon", "v_prediction", "lcf"], help="default: all three")
    options = parser.parse_args()
    both = bases(options.work)
    rows = [
        row
        for base in both
        if options.only in (None, base.prediction)
        for row in measured(base, options.work, options.seeds, options.noises)
    ]
    found = figures(rows)
    if options.only in (None, "lcf"):
        found += tuned_figures([*fine_tuned(both[0], options.work, TUNED_SEEDS, options.noises)])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print_table(found)


if __name__ == "__main__":
    main()

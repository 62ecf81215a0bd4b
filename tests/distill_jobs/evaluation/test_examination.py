"""An examination of a real training: what it measures, that it disturbs nothing, that it can be cut off anywhere."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from torch import Tensor

from distill_jobs.data.dataset import Dataset
from distill_jobs.errors import EvaluationRefused, Interrupted
from distill_jobs.evaluation.plan import plan_evaluation
from distill_jobs.evaluation.settings import EvaluationSettings
from distill_jobs.evaluation.table import TABLE, last_table
from distill_jobs.kinds.lcd import LcdSettings, distil_base
from distill_jobs.kinds.lcd_lora import LcdLoraSettings, distil
from distill_jobs.training.checkpoints import best_step
from sampling import Judge, Settings, denoise, endpoint_error

QUICK: dict[str, Any] = {
    "every": 1,
    "pictures": 3,
    "steps": (1, 2),
    "teacher_steps": 3,
    "points": 2,
    "solvers": ("ddim",),
    "spacings": ("trailing",),
    "guidances": (1.0, 2.0),
    "best_by": "tcd-2/endpoint_error",
}
SHORT: dict[str, Any] = {
    "rank": 2,
    "targets": ("to_q", "conv1"),
    "steps": 2,
    "batch": 2,
    "warmup": 0,
    "w": 4.0,
    "schedule": "constant",
    "learning_rate": 0.05,
}
PROMPTS = ("a large red circle", "a small blue square", "a large green cross")
TRUTH = "a {size} red {shape}"
Distil = Callable[..., dict[str, Tensor]]


@pytest.fixture
def distilled(base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path) -> Distil:
    """Distils two steps into a folder with some evaluation settings; returns the exported tensors."""

    def run(folder: str, evaluation: dict[str, Any], **how: Any) -> dict[str, Tensor]:
        settings = LcdLoraSettings(**{**SHORT, "evaluation": evaluation, **how.pop("settings", {})})
        silent = {"report": lambda progress: None, "cancelled": lambda: None}
        return load_file(distil(base, dataset, settings, folder=tmp_path / folder, **{**silent, **how}))

    return run


def test_an_evaluation_changes_no_bit_of_what_is_trained(distilled: Distil) -> None:
    with_one, without = distilled("with", QUICK), distilled("without", {})
    assert all(torch.equal(with_one[name], without[name]) for name in without)


def test_the_numbers_are_those_of_pictures_painted_independently(
    distilled: Distil, base: StableDiffusionPipeline, dataset: Dataset, tmp_path: Path
) -> None:
    recorded: dict[int, dict[str, float]] = {}
    distilled("job", {**QUICK, "prompts": PROMPTS}, record=lambda step, numbers: recorded.update({step: dict(numbers)}))
    table = json.loads((tmp_path / "job" / TABLE).read_text())
    seeds = list(range(1_000_000, 1_000_003))
    teacher = denoise(base, PROMPTS, seeds, Settings("ddim", 3, 5.0))
    rival = denoise(base, PROMPTS, seeds, Settings("ddim", 1, 2.0))
    rows = {row["name"]: row for row in table["reference"]}
    assert rows["teacher"]["measures"]["endpoint_error"]["mean"] == 0.0
    named = rows["ddim-1, guidance 2, trailing"]
    assert named["evaluations"] == 2
    assert named["measures"]["endpoint_error"]["mean"] == pytest.approx(endpoint_error(rival, teacher), rel=1e-6)
    zero = endpoint_error(torch.zeros_like(teacher), teacher)
    assert rows["zero"]["measures"]["endpoint_error"]["mean"] == pytest.approx(zero, rel=1e-6)
    assert sorted(recorded) == [1, 2]
    assert {"eval/lcm-1/endpoint_error", "eval/tcd-2/endpoint_error", "eval/student/self_consistency"} <= set(
        recorded[2]
    )
    assert "eval/lcm-2/endpoint_error" not in recorded[2]
    assert recorded[1]["eval/tcd-2/endpoint_error"] != recorded[2]["eval/tcd-2/endpoint_error"]


def test_each_student_is_beside_the_best_baseline_of_its_cost(distilled: Distil, tmp_path: Path) -> None:
    distilled("job", QUICK)
    table = json.loads((tmp_path / "job" / TABLE).read_text())
    found = [c for c in table["checkpoints"][-1]["comparisons"] if c["measure"] == "endpoint_error"]
    assert [(c["student"], c["kind"]) for c in found] == [("lcm-1", "difference"), ("tcd-2", "difference")]
    two = [row for row in table["reference"] if row.get("role") == "baseline" and row["evaluations"] == 2]
    best = min(two, key=lambda row: row["measures"]["endpoint_error"]["mean"])
    student = next(row for row in table["checkpoints"][-1]["rows"] if row["name"] == "tcd-2")
    number = found[1]["number"]
    assert found[1]["against"] == best["name"]
    assert number["mean"] == pytest.approx(
        student["measures"]["endpoint_error"]["mean"] - best["measures"]["endpoint_error"]["mean"]
    )
    assert number["low"] <= number["mean"] <= number["high"]
    beside = last_table(tmp_path / "job")
    assert beside is not None
    assert {row["name"] for row in beside["reference"]} < {row["name"] for row in table["reference"]}


def test_the_judge_says_how_often_it_reads_the_teacher_s_picture_and_the_prompt(
    distilled: Distil, judge: Judge, tmp_path: Path
) -> None:
    prompts = ("a large red circle", "a small red cross")
    distilled("job", {**QUICK, "every": 2, "prompts": prompts, "truth": TRUTH}, judge=judge)
    table = json.loads((tmp_path / "job" / TABLE).read_text())
    teacher = next(row for row in table["reference"] if row["name"] == "teacher")
    assert teacher["measures"]["judge_agreement"]["mean"] == 1.0
    for row in table["checkpoints"][-1]["rows"][:-1]:
        assert 0 <= row["measures"]["judge_accuracy"]["mean"] <= 1
        assert 0 <= row["measures"]["judge_agreement"]["mean"] <= 1


CHANGES: list[dict[str, Any]] = [
    {"pictures": 4},
    {"prompts": PROMPTS},
    {"seed": 1},
    {"steps": (2, 3)},
    {"teacher_steps": 4},
    {"guidance": 3.0},
    {"solvers": ("dpm++",)},
    {"spacings": ("leading",)},
    {"guidances": (1.0,)},
    {"points": 3},
    {"truth": TRUTH, "prompts": ("a large red circle",)},
    {"every": 1},
]


@pytest.fixture(scope="module")
def usual_table(
    base: StableDiffusionPipeline, dataset: Dataset, judge: Judge, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """The table of the quick settings."""
    return _table(base, dataset, judge, tmp_path_factory.mktemp("usual"), {})


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(change))
def test_changing_an_option_changes_the_table(
    base: StableDiffusionPipeline, dataset: Dataset, judge: Judge, tmp_path: Path, usual_table: Any, change: Any
) -> None:
    assert _table(base, dataset, judge, tmp_path, change) != usual_table


def test_every_option_has_a_change_that_is_tested() -> None:
    elsewhere = {"features", "clip", "best_by", "keep_best", "export"}  # with networks, and with the kept checkpoints
    assert {name for change in CHANGES for name in change} | elsewhere == set(EvaluationSettings.model_fields)


def test_the_user_s_networks_add_their_measures(
    distilled: Distil, features_folder: Path, clip_folder: Path, tmp_path: Path
) -> None:
    evaluation = {**QUICK, "every": 2, "features": features_folder, "clip": clip_folder, "best_by": "lcm-2/fid"}
    distilled("job", evaluation)
    table = json.loads((tmp_path / "job" / TABLE).read_text())
    assert all({"fid", "kid", "clip_score"} <= set(row["measures"]) for row in table["checkpoints"][-1]["rows"][:-1])


def test_the_best_by_the_chosen_measure_is_kept_and_exported(distilled: Distil, tmp_path: Path) -> None:
    settings = {"steps": 3}
    last = distilled("last", {**QUICK, "keep_best": 2}, settings=settings)
    for by in ("tcd-2/endpoint_error", "student/self_consistency"):
        folder = by.replace("/", "-")
        best = distilled(folder, {**QUICK, "best_by": by, "export": "best"}, settings=settings)
        table = json.loads((tmp_path / folder / TABLE).read_text())["checkpoints"]
        values = [_mean(checkpoint, by) for checkpoint in table]
        chosen = best_step(tmp_path / folder)
        assert chosen == 1 + int(np.argmin(values))
        assert all(torch.equal(best[name], last[name]) for name in last) == (chosen == 3)
        beside = last_table(tmp_path / folder, chosen)
        assert beside is not None
        assert beside["step"] == chosen
    assert len(list((tmp_path / "last" / "checkpoints").glob("*.pt"))) == 2


def test_a_whole_network_that_is_told_its_guidance_is_examined_beside_its_own_base(
    base: StableDiffusionPipeline, base_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    silent: dict[str, Any] = {"report": lambda progress: None, "cancelled": lambda: None}
    exported = []
    for evaluation in ({**QUICK, "export": "best"}, {}):
        settings = LcdSettings(steps=2, batch=2, warmup=0, learning_rate=1e-3, w_max=4.0, evaluation=evaluation)
        folder = tmp_path / str(len(exported))
        exported.append(distil_base(base, base_folder, dataset, settings, folder=folder, **silent))
    table = json.loads((tmp_path / "0" / TABLE).read_text())
    rows = {row["name"]: row for row in table["checkpoints"][0]["rows"]}
    assert (rows["tcd-2"]["guidance"], rows["tcd-2"]["evaluations"]) == (4.0, 2)
    assert table["reference"][0]["guidance"] == 4.0
    best, last = (load_file(path / "unet" / "diffusion_pytorch_model.safetensors") for path in exported)
    chosen = best_step(tmp_path / "0")
    assert all(torch.equal(best[name], last[name]) for name in last) == (chosen == 2)


@pytest.mark.parametrize("after", [1, 5, 6])
def test_killed_in_the_middle_of_an_evaluation_it_ends_at_the_same_bits(
    distilled: Distil, base_folder: Path, data_folder: Path, tmp_path: Path, after: int
) -> None:
    whole = distilled("whole", QUICK)
    order = {"base": str(base_folder), "data": str(data_folder), "settings": {**SHORT, "evaluation": QUICK}}
    killed = _distil_until_killed(order, tmp_path / "killed", after)
    assert killed == -signal.SIGKILL
    resumed = distilled("killed", QUICK)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert (tmp_path / "killed" / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()


def test_a_request_to_stop_is_heard_between_two_denoising_steps_and_costs_nothing(
    distilled: Distil, tmp_path: Path
) -> None:
    whole = distilled("whole", QUICK)
    asked = iter(range(10**6))
    with pytest.raises(Interrupted, match="pause") as caught:
        distilled("stopped", QUICK, cancelled=lambda: "pause" if next(asked) >= 3 else None)
    assert caught.value.step == 1
    resumed = distilled("stopped", QUICK)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert (tmp_path / "stopped" / TABLE).read_bytes() == (tmp_path / "whole" / TABLE).read_bytes()


def test_the_frozen_base_is_measured_once_a_job(distilled: Distil, tmp_path: Path) -> None:
    distilled("job", QUICK)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "job" / "cache").iterdir()}
    (tmp_path / "job" / TABLE).unlink()
    distilled("job", QUICK)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "job" / "cache").iterdir()} == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"truth": TRUTH}, "no judge"),
        ({"best_by": "lcm-2/judge_agreement"}, "no judge, so judge_agreement cannot rank"),
        ({"best_by": "lcm-2/fid"}, "features is not given"),
        ({"best_by": "lcm-1/clip_score"}, "clip is not given"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_training(
    base: StableDiffusionPipeline, change: dict[str, Any], why: str
) -> None:
    with pytest.raises(EvaluationRefused, match=why):
        settings = EvaluationSettings(**{**QUICK, **change})
        plan_evaluation(base, PROMPTS, settings, LcdLoraSettings(), guidance=5.0, judge=None)


def _table(
    base: StableDiffusionPipeline, dataset: Dataset, judge: Judge, folder: Path, change: dict[str, Any]
) -> dict[str, Any]:
    """The table of one step's training, without its digest, which changes with every option."""
    by = {"best_by": "tcd-2/endpoint_error"}
    settings = LcdLoraSettings(**{**SHORT, "evaluation": {**QUICK, **by, "every": 2, **change}})
    silent: dict[str, Any] = {"report": lambda progress: None, "cancelled": lambda: None}
    distil(base, dataset, settings, folder=folder, judge=judge, **silent)
    table: dict[str, Any] = json.loads((folder / TABLE).read_text())
    del table["exam"]
    return table


def _mean(checkpoint: dict[str, Any], measure: str) -> float:
    name, _, what = measure.partition("/")
    row = next(row for row in checkpoint["rows"] if row["name"] == name)
    return float(row["measures"][what]["mean"])


def _distil_until_killed(order: dict[str, Any], folder: Path, after: int) -> int:
    """Distil in a process that is killed as it writes the file number `after` of an evaluation."""
    program = (
        "import json, os, signal, sys\n"
        "from pathlib import Path\n"
        "from distill_jobs import LcdLoraSettings, distil, read_dataset\n"
        "from sampling import load_pipeline\n"
        "order, folder, after = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])\n"
        "rename, seen = Path.replace, []\n"
        "def replace(path, target):\n"
        "    seen.extend(path.name for kind in ('evaluation', 'measured', 'teacher') if path.name.startswith(kind))\n"
        "    if len(seen) > after: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return rename(path, target)\n"
        "Path.replace = replace\n"
        "distil(load_pipeline(Path(order['base'])), read_dataset(Path(order['data'])),\n"
        "       LcdLoraSettings(**order['settings']), folder=folder,\n"
        "       report=lambda p: None, cancelled=lambda: None)\n"
    )
    command = [sys.executable, "-c", program, json.dumps(order), str(folder), str(after)]
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False).returncode

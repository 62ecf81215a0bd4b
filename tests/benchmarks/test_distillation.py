"""A distillation's benchmark asks both sides for the same training, times what it says, and can be taken up again."""

import argparse
import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks import distillation
from benchmarks.distillation import (
    AS_IT_IS,
    CPU,
    CUDA,
    KEPT,
    MERGED,
    RIVAL,
    TINY,
    TWO_UNETS,
    Case,
    our_arguments,
    print_table,
    rival_arguments,
)
from benchmarks.distillation_client import Clock, Measured
from benchmarks.page import printed

ROOT = Path(__file__).parents[2]
CASES = (*CPU, *CUDA)
SCRIPT = """
import json, sys, time, torch
print("the script was given", json.dumps(sys.argv[1:]))
weight = torch.nn.Parameter(torch.ones(1))
optimiser = torch.optim.AdamW([weight])
for step in range(100):
    time.sleep(0.2 if step < 2 else 0.01)
    weight.grad = torch.ones(1)
    optimiser.step()
    with torch.autocast("cpu"):
        print("computes in", (torch.eye(2) @ torch.eye(2)).dtype)
"""


def places(tmp_path: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "base", tmp_path / "pictures", tmp_path / "work"


def told(arguments: list[str]) -> dict[str, str]:
    """The options of the form --name=value, and flags with an empty value."""
    return {name.removeprefix("--"): value for name, _, value in (each.partition("=") for each in arguments)}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_both_sides_are_asked_for_the_same_training(case: Case, tmp_path: Path) -> None:
    base, pictures, work = places(tmp_path)
    theirs = told(rival_arguments(case, RIVAL, tmp_path / case.script, base, pictures, work))
    arguments = our_arguments(case, MERGED, base, pictures, work)
    ours = json.loads(arguments[-1])
    assert int(theirs["train_batch_size"]) == ours["batch"] == case.batch
    assert int(theirs["lora_rank"]) == int(theirs["lora_alpha"]) == ours["rank"] == case.rank
    assert theirs.get("mixed_precision", "fp32") == ours["dtype"] == case.dtype
    assert theirs["loss_type"] == ours["loss"]
    assert float(theirs["w_min"]) == float(theirs["w_max"]) == ours["w"]
    assert arguments[arguments.index("--base") + 1] == theirs["pretrained_teacher_model"] == str(base)


@pytest.mark.parametrize("case", CPU, ids=lambda case: case.name)
def test_what_is_compared_is_in_fp32_throughout_and_what_is_not_is_left_alone(case: Case, tmp_path: Path) -> None:
    at = (tmp_path / case.script, *places(tmp_path))
    assert "--no-autocast" in rival_arguments(case, RIVAL, *at)
    assert "--no-autocast" not in rival_arguments(case, AS_IT_IS, *at)
    assert (AS_IT_IS in case.sides()) == (case.script == TWO_UNETS)


def test_only_what_keeps_trajectories_keeps_them(tmp_path: Path) -> None:
    settings = {side: json.loads(our_arguments(CPU[0], side, *places(tmp_path))[-1]) for side in (MERGED, KEPT)}
    assert (settings[MERGED].pop("trajectories"), settings[KEPT].pop("trajectories")) == (0, 1)
    assert settings[MERGED] == settings[KEPT]


def test_the_clock_counts_the_steps_after_the_skipped_ones_and_then_ends_the_training() -> None:
    clock = Clock(skipped=2, steps=3)
    optimiser = torch.optim.SGD(nn.Linear(1, 1).parameters())
    hook = register_optimizer_step_post_hook(clock.tick)
    try:
        with pytest.raises(Measured):
            while True:
                optimiser.step()
    finally:
        hook.remove()
    assert len(clock.ends) == 5
    assert len(clock.figures()["step_s"]) == 3


def test_a_training_that_ended_too_early_has_no_figures() -> None:
    clock = Clock(skipped=1, steps=3)
    clock.tick()
    clock.tick()
    with pytest.raises(SystemExit, match="after 2 steps, not 4"):
        clock.figures()


def client(tmp_path: Path, *options: str) -> list[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = [sys.executable, str(ROOT / "benchmarks" / "distillation_client.py"), "script", "--script", str(script)]
    command = [*run, "--skipped=2", "--steps=3", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize(("options", "dtype"), [((), "bfloat16"), (("--no-autocast",), "float32")])
def test_a_script_runs_as_it_is_with_its_own_options_and_is_timed(
    tmp_path: Path, options: tuple[str, ...], dtype: str
) -> None:
    said = client(tmp_path, *options, "--seed=3", "--scale_lr")
    assert said[0] == 'the script was given ["--seed=3", "--scale_lr"]'
    assert said[1:-1] == [f"computes in torch.{dtype}"] * 4
    figures = json.loads(said[-1])
    assert figures["seconds"] >= 0.01  # the script sleeps that long
    assert figures["versions"]["torch"] == torch.__version__


def test_a_torchvision_that_does_not_fit_torch_is_imported_all_the_same(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n@torch.library.register_fake('torchvision::nms')\ndef nms(dets, scores, iou_threshold): ...\n"
    )
    script = "import sys; sys.path[:0] = sys.argv[1:]; import distillation_client as c; c.import_torchvision()"
    run = [sys.executable, "-c", f"{script}; import torchvision; print(torchvision.nms.__name__)"]
    said = subprocess.run([*run, str(tmp_path), str(ROOT / "benchmarks")], capture_output=True, text=True, check=True)
    assert said.stdout == "nms\n"


def runs(seconds: float, mib: float) -> list[dict[str, Any]]:
    return [{"seconds": seconds * factor, "peak_mib": mib, "gpu_mib": 1.0} for factor in (0.5, 1.0, 9.0)]


def table(share_of_memory: float | None) -> list[str]:
    case = replace(CPU[0], name="a base", share_of_memory=share_of_memory)
    sides = {RIVAL: runs(1.0, 1000), MERGED: runs(0.8, 600), KEPT: runs(0.6, 601), AS_IT_IS: runs(2.0, 1)}
    figures = {"cases": {"a base": distillation.described(case)}, "runs": {"a base": sides}}
    return printed(print_table, {"machine": "a machine", "versions": {}, "figures": figures}).splitlines()[4:]


def test_the_table_judges_the_median_step_and_memory_where_memory_has_an_aim() -> None:
    assert table(0.6) == [
        f"| a base (fp32, batch 32, rank 32): {TWO_UNETS} | 1.00 s a step |  |  |",
        "| a base: ours | 0.80 s a step, 1.25 x as fast | 1.25 x | met |",
        "| a base: ours, trajectories kept | **0.60 s a step, 1.67 x as fast** | 1.8 x | **not met** |",
        "| a base: diffusers, autocast as it is | 2.00 s a step, 0.50 x as fast |  |  |",
        "| a base: diffusers, peak memory | 1,000 MiB |  |  |",
        "| a base: ours, peak memory | 600 MiB, 0.60 of it | 0.6 | met |",
        "| a base: ours, trajectories kept, peak memory | **601 MiB, 0.60 of it** | 0.6 | **not met** |",
    ]
    assert table(None)[-2:] == [
        "| a base: ours, peak memory | 600 MiB, 0.60 of it |  |  |",
        "| a base: ours, trajectories kept, peak memory | 601 MiB, 0.60 of it |  |  |",
    ]


def test_a_measurement_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    case, folder = TINY[0], tmp_path / "runs"
    folder.mkdir()
    noted = {case.name: {side: [{"seconds": 1.0, "peak_mib": 1.0}] for side in (RIVAL, KEPT, AS_IT_IS)}}
    (folder / "runs.json").write_text(json.dumps(noted))
    options = argparse.Namespace(runs=1, rival=tmp_path / "nowhere", rivals_python="nowhere")
    found = distillation.measure(TINY, folder, options)[case.name]
    assert found[RIVAL] == noted[case.name][RIVAL]
    assert found[MERGED][0]["seconds"] > 0
    assert json.loads((folder / "runs.json").read_text()) == {case.name: found}


def test_pictures_of_the_tar_are_those_of_the_folder(tmp_path: Path) -> None:
    pictures = distillation.write_pictures(tmp_path, count=3)
    captions = [json.loads(line)["text"] for line in (pictures / "metadata.jsonl").read_text().splitlines()]
    with tarfile.open(tmp_path / "pictures.tar") as archive:
        contents = [archive.extractfile(member) for member in archive]
        names, bodies = archive.getnames(), [file.read() for file in contents if file]
    assert names == [f"{i:05d}.{end}" for i in range(3) for end in ("png", "txt")]
    assert [body.decode() for body in bodies[1::2]] == captions
    assert bodies[0::2] == [(pictures / name).read_bytes() for name in names[0::2]]

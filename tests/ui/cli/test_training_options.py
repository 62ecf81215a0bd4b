"""How a training computes is said in the same words by every command that trains."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from distill_jobs.training.compute import ComputeSettings
from ui.cli.training_options import COMPUTE

Tau = Callable[..., Result]


def test_every_setting_has_an_option() -> None:
    assert set(COMPUTE) == set(ComputeSettings.model_fields)


@pytest.mark.parametrize("command", [("distill", "lcd-lora"), ("distill", "lcd"), ("train", "style")])
def test_every_option_reaches_the_spec(painted: Tau, data: Path, command: tuple[str, ...]) -> None:
    wanted = {
        "dtype": "bf16",
        "device": "cuda",
        "processes": 2,
        "accumulate": 2,
        "attention": "math",
        "optimiser": "adamw-8bit",
        "compile": "inductor",
    }
    words = [word for name, value in wanted.items() for word in (f"--{name}", value)]
    flags = ("--gradient-checkpointing", "--channels-last", "--no-worker", "--json")
    order = ("--base", "shapes", "--data", data, "--name", "fast", "--batch", 4)
    result = painted(*command, *order, *words, *flags)
    assert result.exit_code == 0, result.stderr
    spec = json.loads(result.stdout)["spec"]
    assert {name: spec[name] for name in COMPUTE} == {**wanted, "gradient_checkpointing": True, "channels_last": True}


def test_what_cannot_be_is_refused_before_anything_is_queued(painted: Tau, data: Path) -> None:
    result = painted("distill", "lcd-lora", "--base", "shapes", "--data", data, "--name", "fast", "--dtype", "int8")
    assert result.exit_code == 2
    assert "dtype" in result.stderr
    assert painted("jobs", "ls", "-q").stdout == ""


def test_a_dry_run_says_what_a_job_would_need_and_queues_nothing(painted: Tau, data: Path) -> None:
    order = ("--base", "shapes", "--data", data, "--name", "fast", "--batch", 4, "--steps", 3)
    for command in (("distill", "lcd-lora"), ("distill", "lcd"), ("train", "style")):
        result = painted(*command, *order, "--dry-run", "--json")
        assert result.exit_code == 0, result.stderr
        said = json.loads(result.stdout)
        assert (said["schema"], said["findings"]) == ("tau.preflight/1", [])
        assert said["needs"]["memory"]["total"] > 0
    assert painted("jobs", "ls", "-q").stdout == ""


def test_a_dry_run_of_what_cannot_be_is_refused_with_the_remedy(painted: Tau, data: Path) -> None:
    order = ("--base", "shapes", "--data", data, "--name", "fast", "--trajectories", 10**10)
    result = painted("distill", "lcd-lora", *order, "--dry-run")
    assert result.exit_code == 4
    assert "lower --keep-last" in " ".join(result.stdout.split())


def test_only_a_machine_with_the_memory_takes_the_job(painted: Tau, data: Path) -> None:
    order = ("--base", "shapes", "--data", data, "--name", "fast", "--no-worker", "--json")
    spec = json.loads(painted("distill", "lcd-lora", *order, "--needs-memory", "16G").stdout)
    assert (spec["needs_memory"], spec["needs_gpu"]) == (16 * 1024**3, 0)

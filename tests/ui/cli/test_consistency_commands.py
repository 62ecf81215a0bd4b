"""distill lcd and train lcf: jobs that run to their registered results, and guidance in both ways of counting it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Tau = Callable[..., Result]
QUICK = ("--steps", 2, "--batch", 2)
SWITCHES = ("--gradient-checkpointing", "--channels-last", "--data-license", "cc0")


def order(data: Path, *more: object, name: str = "fast", base: str = "shapes") -> tuple[object, ...]:
    """The arguments that every training needs."""
    return ("--base", base, "--data", data, "--name", name, *more)


def edges_of(painted: Tau, version: str) -> set[tuple[str, str]]:
    """(relation, parent) of everything that a version came from."""
    graph = json.loads(painted("lineage", version, "--json").stdout)
    return {(edge["relation"], edge["parent"].split(":")[0]) for edge in graph["edges"] if edge["child"] == version}


def test_a_base_is_distilled_then_fine_tuned_and_both_paint(painted: Tau, data: Path, tmp_path: Path) -> None:
    ranged = ("--w-min", 1, "--guidance-max", 5)
    result = painted("distill", "lcd", *order(data, *QUICK, *ranged, "--wait", "--json"))
    assert result.exit_code == 0, result.stderr
    assert "w_min 1 (guidance scale 2), w_max 4 (guidance scale 5)" in result.stderr
    fast = json.loads(painted("show", "fast", "--json").stdout)
    assert fast["kind"] == "base"
    assert fast["sampling"] == {
        "solver": "lcm", "steps": [1, 2, 4, 8], "guidance": [2.0, 5.0], "distilled_w": [1.0, 4.0],
        "convention": "diffusers", "timestep_spacing": "trailing", "original_inference_steps": 50
    }  # fmt: skip
    assert "distilled_w 1 to 4 (guidance scale 2 to 5)" in painted("show", "fast").stdout
    made = {("distilled_from", "shapes"), ("teacher", "shapes"), ("trained_on", "dataset"), ("produced_by", "job")}
    assert edges_of(painted, "fast:1") == made
    tuned = painted("train", "lcf", *order(data, *QUICK, *ranged, "--wait", "--json", base="fast", name="mine"))
    assert tuned.exit_code == 0, tuned.stderr
    assert json.loads(painted("show", "mine", "--json").stdout)["kind"] == "base"
    assert ("distilled_from", "fast") in edges_of(painted, "mine:1")
    pictures = [tmp_path / f"{base}.png" for base in ("fast", "mine")]
    for base, picture in zip(("fast", "mine"), pictures, strict=True):
        shown = painted("preview", base, "-p", "a circle", "--steps", 2, "--guidance", 3, "-o", picture, "--json")
        assert shown.exit_code == 0, shown.stderr
        assert json.loads(shown.stdout)["evaluations"] == 2
    assert pictures[0].read_bytes() != pictures[1].read_bytes()


def test_a_style_is_fine_tuned_beside_an_acceleration_vector_and_painted_with_it(painted: Tau, data: Path) -> None:
    settings = ("--acceleration", "lcm", "--rank", 2, *QUICK)
    result = painted("train", "lcf", *order(data, *settings, "--wait", "--json", name="mine"))
    assert result.exit_code == 0, result.stderr
    version = json.loads(painted("show", "mine", "--json").stdout)
    assert (version["kind"], version["sampling"]["solver"]) == ("style", "lcm")
    made = {("adapter_of", "shapes"), ("distilled_from", "lcm"), ("trained_on", "dataset"), ("produced_by", "job")}
    assert edges_of(painted, "mine:1") == made
    shown = painted("preview", "mine + lcm", "-p", "a circle", "--steps", 2, "--json")
    assert shown.exit_code == 0, shown.stderr


def test_every_setting_of_a_whole_distillation_reaches_the_spec(painted: Tau, data: Path) -> None:
    settings = {
        "--steps": 9, "--batch": 4, "--learning-rate": 0.01, "--w-min": 1.0, "--w-max": 4.0, "--target-rate": 0.5,
        "--loss": "l2", "--num-ddim-timesteps": 25, "--huber-c": 0.1, "--seed": 5, "--checkpoint-every": 7,
        "--sample-every": 3, "--sample-prompt": "a circle", "--sample-guidance": 4.0, "--caption-dropout": 0.2,
        "--dtype": "bf16", "--device": "cuda", "--processes": 2, "--accumulate": 2, "--optimiser": "adamw-fused",
        "--compile": "aot_eager", "--keep-last": 2, "--attention": "math",
    }  # fmt: skip
    arguments = [*(part for pair in settings.items() for part in pair), *SWITCHES]
    _reaches(painted("distill", "lcd", *order(data, *arguments, "--no-worker", "--json")), settings)
    _reaches(painted("train", "lcf", *order(data, *arguments, "--no-worker", "--json")), settings)


def test_every_setting_of_a_fine_tuned_style_reaches_the_spec(painted: Tau, data: Path) -> None:
    settings = {
        "--rank": 3, "--alpha": 1.5, "--steps": 9, "--batch": 4, "--learning-rate": 0.01, "--target-rate": 0.5,
        "--loss": "l2", "--num-ddim-timesteps": 25, "--huber-c": 0.1, "--seed": 5, "--checkpoint-every": 7,
        "--sample-every": 3, "--sample-prompt": "a circle", "--format": "diffusers", "--caption-dropout": 0.2,
        "--dtype": "bf16", "--device": "cuda", "--processes": 2, "--accumulate": 2, "--optimiser": "adamw-fused",
        "--compile": "aot_eager", "--keep-last": 2, "--attention": "math",
    }  # fmt: skip
    arguments = [*(part for pair in settings.items() for part in pair), *SWITCHES]
    told = ("--acceleration", "lcm", "--no-worker", "--json")
    result = painted("train", "lcf", *order(data, *arguments, *told))
    _reaches(result, settings)
    assert json.loads(result.stdout)["spec"]["acceleration"] == "lcm:1"


def test_guidance_is_taken_in_either_way_and_stored_in_one(painted: Tau, data: Path) -> None:
    as_w = painted("distill", "lcd-lora", *order(data, "-w", 7.5, "--no-worker", "-q"))
    as_scale = painted("distill", "lcd-lora", *order(data, "--guidance", 8.5, "--no-worker", "-q"))
    assert (as_w.stdout, as_scale.stdout) == ("1\n", "1\n")
    assert "w 7.5 (guidance scale 8.5)" in as_scale.stderr
    shown = painted("jobs", "show", 1)
    assert "7.5 (guidance scale 8.5)" in shown.stdout


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        (("distill", "lcd-lora"), ("--w", 4, "--guidance", 5), "two ways"),
        (("distill", "lcd"), ("--w-min", 4, "--guidance-min", 5), "two ways"),
        (("distill", "lcd"), ("--w-max", 4, "--guidance-max", 5), "two ways"),
        (("distill", "lcd"), ("--w-min", 9, "--w-max", 4), "w_min 9 is above w_max 4"),
        (("train", "lcf"), ("--acceleration", "lcm", "--w-min", 2), "learn the average"),
        (("train", "lcf"), ("--rank", 4), "rank"),
        (("train", "lcf"), ("--acceleration", "papercut"), "of kind style"),
        (("train", "lcf"), ("--acceleration", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_queued(
    painted: Tau, data: Path, command: tuple[str, str], arguments: tuple[object, ...], words: str
) -> None:
    result = painted(*command, *order(data, *arguments, "--no-worker"))
    assert result.exit_code in (2, 3, 4)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert painted("jobs", "ls", "-q").stdout == ""


def _reaches(result: Result, settings: dict[str, Any]) -> None:
    spec = json.loads(result.stdout)["spec"]
    names = {"--format": "layout", "--sample-prompt": "sample_prompts"}
    wanted = {names.get(option, option[2:].replace("-", "_")): value for option, value in settings.items()}
    assert {name: spec[name] for name in wanted} == wanted | {"sample_prompts": ["a circle"]}
    assert spec["gradient_checkpointing"] is spec["channels_last"] is True
    assert spec["data_license"] == "cc0"

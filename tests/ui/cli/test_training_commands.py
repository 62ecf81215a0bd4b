"""distill, train, jobs and worker: what is refused at once, and jobs that run to their end."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Tau = Callable[..., Result]
QUICK = ("--steps", 2, "--batch", 2, "--rank", 2)


def order(data: Path, *more: object, name: str = "fast", base: str = "shapes") -> tuple[object, ...]:
    """The arguments that every training needs."""
    return ("--base", base, "--data", data, "--name", name, *more)


def test_a_distillation_that_is_waited_for_ends_in_a_registered_vector(painted: Tau, data: Path, home: Path) -> None:
    result = painted("distill", "lcd-lora", *order(data, *QUICK, "--wait", "--json"))
    assert result.exit_code == 0, result.stderr
    job = json.loads(result.stdout)
    assert (job["state"], job["result"]) == ("succeeded", {"version": "fast:1"})
    assert "started a worker" in result.stderr
    version = json.loads(painted("show", "fast", "--json").stdout)
    assert (version["kind"], version["state"], version["sampling"]["solver"]) == ("acceleration", "published", "lcm")
    graph = json.loads(painted("lineage", "fast", "--json").stdout)
    edges = {edge["relation"]: edge["parent"].split(":")[0] for edge in graph["edges"] if edge["child"] == "fast:1"}
    assert edges == {
        "adapter_of": "shapes",
        "distilled_from": "shapes",
        "teacher": "shapes",
        "trained_on": "dataset",
        "produced_by": "job",
    }
    log = painted("jobs", "logs", job["id"], "-f").stdout
    assert "step 2/2" in log
    assert json.loads(painted("jobs", "logs", job["id"], "--json").stdout)["text"] == log


def test_an_evaluated_distillation_shows_its_table_beside_its_result(painted: Tau, data: Path) -> None:
    ranked = ("--eval-steps", 1, "--best-by", "lcm-1/endpoint_error", "--export", "best")
    evaluated = ("--evaluate-every", 1, "--eval-pictures", 2, *ranked)
    result = painted("distill", "lcd-lora", *order(data, *QUICK, *evaluated, "--wait", "--json"))
    assert result.exit_code == 0, result.stderr
    job = json.loads(result.stdout)
    rows = {
        row["name"]: row for row in [*job["result"]["evaluation"]["rows"], *job["result"]["evaluation"]["reference"]]
    }
    assert rows["lcm-1"]["evaluations"] == 1
    assert rows["teacher"]["measures"]["endpoint_error"]["mean"] == 0.0
    shown = painted("jobs", "show", job["id"]).stdout
    assert "lcm-1" in shown
    assert "result evaluation" not in shown


def test_queued_jobs_run_when_a_worker_comes(painted: Tau, data: Path) -> None:
    style = painted("train", "style", *order(data, *QUICK, "--no-worker", "--draft", "-q", name="mine"))
    assert style.stdout == "1\n"
    assert painted("jobs", "ls", "-q", "--state", "queued").stdout == "1\n"
    worker = painted("worker", "--until-idle")
    assert worker.exit_code == 0
    assert worker.stderr.splitlines()[2:] == [
        "job 1 (style mine): running",
        "job 1 (style mine): succeeded version mine:1",
    ]
    assert json.loads(painted("jobs", "show", 1, "--json").stdout)["state"] == "succeeded"
    version = json.loads(painted("show", "mine", "--json").stdout)
    assert (version["kind"], version["state"]) == ("style", "draft")


def test_the_same_order_again_is_the_same_job_while_it_is_unfinished(painted: Tau, data: Path) -> None:
    first = painted("distill", "lcd-lora", *order(data, *QUICK, "--no-worker", "-q"))
    again = painted("distill", "lcd-lora", *order(data, *QUICK, "--no-worker", "-q"))
    other = painted("distill", "lcd-lora", *order(data, *QUICK, "--seed", 1, "--no-worker", "-q"))
    assert (first.stdout, again.stdout, other.stdout) == ("1\n", "1\n", "2\n")
    assert painted("jobs", "ls", "-q", "--limit", 1).stdout == "2\n"
    assert painted("jobs", "ls", "-q", "--after", 2).stdout == "1\n"
    assert painted("jobs", "ls", "-q", "--kind", "style").stdout == ""


def test_every_setting_reaches_the_spec(painted: Tau, data: Path) -> None:
    settings = {
        "--rank": 3, "--alpha": 1.5, "--steps": 9, "--batch": 4, "--learning-rate": 0.01, "--w": 4.0, "--loss": "l2",
        "--num-ddim-timesteps": 25, "--huber-c": 0.1, "--seed": 5, "--checkpoint-every": 7, "--sample-every": 3,
        "--caption-dropout": 0.25, "--sample-prompt": "a circle", "--format": "diffusers",
    }  # fmt: skip
    arguments = [part for pair in settings.items() for part in pair]
    result = painted("distill", "lcd-lora", *order(data, *arguments, "--no-worker", "--json"))
    spec = json.loads(result.stdout)["spec"]
    names = {"--format": "layout", "--sample-prompt": "sample_prompts"}
    wanted = {names.get(option, option[2:].replace("-", "_")): value for option, value in settings.items()}
    assert {name: spec[name] for name in wanted} == wanted | {"sample_prompts": ["a circle"]}
    kept = ("--keep-last", 2, "--keep-best", 3, "--best-by", "lcm-2/judge_accuracy", "--export", "best")
    asked = ("--eval-prompt", "a red circle", "--eval-truth", "a {colour} {shape}", "--eval-pictures", 8)
    steps = ("--evaluate-every", 4, "--eval-steps", 1, "--eval-steps", 2)
    networks = ("--eval-features", data, "--eval-clip", data)
    result = painted("distill", "lcd-lora", *order(data, *kept, *asked, *steps, *networks, "--no-worker", "--json"))
    spec = json.loads(result.stdout)["spec"]
    evaluation = {
        "keep_best": 3, "best_by": "lcm-2/judge_accuracy", "export": "best", "prompts": ["a red circle"],
        "truth": "a {colour} {shape}", "pictures": 8, "every": 4, "steps": [1, 2],
        "features": str(data.resolve()), "clip": str(data.resolve()),
    }  # fmt: skip
    assert spec["keep_last"] == 2
    assert {name: spec["evaluation"][name] for name in evaluation} == evaluation
    style = painted("train", "style", *order(data, "--text-encoder", "--no-worker", "--json", name="s"))
    assert json.loads(style.stdout)["spec"]["text_encoder"] is True


def test_jobs_are_paused_resumed_cancelled_and_retried(painted: Tau, data: Path) -> None:
    painted("distill", "lcd-lora", *order(data, *QUICK, "--no-worker"))
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        assert painted("jobs", verb, 1, "--dry-run").exit_code == 0
        result = painted("jobs", verb, 1, "--json")
        assert json.loads(result.stdout)["jobs"][0]["state"] == state
    assert painted("jobs", "resume", 1).exit_code == 5
    missing = painted("jobs", "cancel", 99)
    assert missing.exit_code == 3
    assert "tau jobs ls" in missing.stderr


def test_waiting_longer_than_the_timeout_ends_the_waiting_alone(painted: Tau, data: Path) -> None:
    result = painted("distill", "lcd-lora", *order(data, *QUICK, "--no-worker", "--wait", "--timeout", 0))
    assert result.exit_code == 124
    assert "tau jobs logs -f 1" in result.stderr
    assert painted("jobs", "ls", "-q", "--state", "queued").stdout == "1\n"


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--rank", 2, "--loss", "cosine"), 2, "loss"),
        (("--huber-c", -1), 2, "huber_c"),
        (("--format", "kohyo"), 2, "layout"),
        (("--eval-pictures", 8), 2, "set every"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_queued(
    painted: Tau, data: Path, arguments: tuple[object, ...], code: int, word: str
) -> None:
    result = painted("distill", "lcd-lora", *order(data, *arguments, "--no-worker"))
    assert result.exit_code == code
    assert word in result.stderr
    assert painted("jobs", "ls", "-q").stdout == ""


def test_a_wrong_order_is_refused_before_anything_is_queued(painted: Tau, data: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    wrong = (
        (order(data, base="shapos"), 3, "Did you mean shapes"),
        (order(data, base="papercut"), 2, "tau ls --kind base"),
        (order(data, name="papercut"), 5, "another --name"),
        (order(data, name="Not A Slug"), 2, "not-a-slug"),
        (order(empty), 4, "no pictures"),
        (order(tmp_path / "missing"), 4, "not a folder"),
    )
    for arguments, code, words in wrong:
        result = painted("distill", "lcd-lora", *arguments, "--no-worker")
        assert (result.exit_code, words in result.stderr) == (code, True), result.stderr
    assert painted("jobs", "ls", "-q").stdout == ""

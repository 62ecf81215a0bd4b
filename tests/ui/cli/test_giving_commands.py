"""export, push and sync: data on stdout, warnings on stderr, exit codes that say what went wrong."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Tau = Callable[..., Result]


def test_export_writes_the_folder_and_prints_the_weights(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    result = tau("export", "papercut", tmp_path / "out", "-q")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'out' / 'papercut.safetensors'}\n"
    assert (tmp_path / "out" / "README.md").is_file()


def test_export_says_in_json_what_it_wrote(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    result = tau("export", "papercut", tmp_path / "out", "--format", "diffusers", "--base-model", "ann/b", "--json")
    document = json.loads(result.stdout)
    assert document["schema"] == "tau.export/1"
    assert document["version"]["ref"] == "papercut:1"
    assert (document["layout"], document["is_bit_equal"]) == ("diffusers", False)
    assert "pytorch_lora_weights.safetensors" in document["paths"]


def test_what_was_exported_is_imported_as_the_same_version(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    tau("export", "papercut", tmp_path / "out")
    result = tau("import", tmp_path / "out", "--name", "papercut", "-q")
    assert result.stdout.split() == ["papercut:1"], result.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nothing", "out"), 3),
        (("papercut", "out", "--format", "onnx"), 2),
        (("papercut", "out", "--base-model", "no repository"), 2),
        (("tiny", "out", "--format", "kohya"), 2),
    ],
)
def test_what_cannot_be_exported_is_refused(
    tau: Tau, stocked: Path, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    reference, _, *more = arguments
    result = tau("export", reference, tmp_path / "out", *more)
    assert (result.exit_code, result.stdout) == (code, "")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken_is_a_conflict(tau: Tau, stocked: Path) -> None:
    result = tau("export", "papercut", stocked)
    assert result.exit_code == 5
    assert "no export wrote" in result.stderr


def test_a_draft_is_not_pushed_and_the_remedy_is_named(tau: Tau, stocked: Path) -> None:
    tau("import", stocked / "papercut.safetensors", "--name", "sketch", "--draft")
    result = tau("push", "sketch", "hf://ann/sketch", "--dry-run")
    assert result.exit_code == 4
    assert "tau publish sketch:1" in result.stderr


def test_push_takes_repositories_alone(tau: Tau, stocked: Path) -> None:
    assert tau("push", "papercut", "https://example.org/x").exit_code == 2


def test_sync_fills_a_tools_folders_and_says_how(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    (tmp_path / "comfy").mkdir()
    planned = tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "kind:style", "--dry-run")
    assert planned.exit_code == 0, planned.stderr
    assert "would be written" in planned.stderr
    assert list((tmp_path / "comfy").iterdir()) == []
    written = tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "kind:style", "-q")
    assert written.stdout == "models/loras/papercut.safetensors\n"
    again = json.loads(tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "kind:style", "--json").stdout)
    assert (again["schema"], again["written"], again["unchanged"]) == ("tau.sync/1", [], 1)
    every = tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "kind:style", "--every-version")
    assert "papercut-v1.safetensors" in every.stdout


def test_sync_refuses_an_unknown_tool_folder_or_query(tau: Tau, stocked: Path, tmp_path: Path) -> None:
    (tmp_path / "comfy").mkdir()
    assert tau("sync", tmp_path / "comfy", "--tool", "photoshop").exit_code == 2
    assert tau("sync", tmp_path / "typo", "--tool", "comfyui").exit_code == 3
    assert tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "colour:red").exit_code == 2


def test_sync_writes_the_rest_where_one_file_is_lost_and_fails_at_the_end(
    tau: Tau, stocked: Path, write_vector: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "comfy").mkdir()
    oil = write_vector(tmp_path / "oil.safetensors", seed=9)
    assert tau("import", oil, "--in-place").exit_code == 0
    oil.unlink()
    result = tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "kind:style", "-q")
    assert (result.exit_code, result.stdout) == (1, "models/loras/papercut.safetensors\n")
    assert "oil:1" in result.stderr
    document = json.loads(tau("sync", tmp_path / "comfy", "--tool", "comfyui", "--where", "oil", "--json").stdout)
    assert (document["failed"], [ref for ref, _ in document["left_out"]]) == (["oil:1"], ["oil:1"])


def test_export_into_the_folder_that_one_stands_in_fills_it(
    tau: Tau, stocked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for layout in ("peft", "kohya"):
        assert tau("export", "papercut", ".", "--format", layout).exit_code == 0
    assert sorted(path.name for path in Path.cwd().iterdir()) == [
        "README.md",
        "papercut.safetensors",
        "provenance.json",
    ]
    assert Path.cwd().samefile(tmp_path / "here")

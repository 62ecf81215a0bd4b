"""Bad input gets an error that names the remedy, the exit code that says its kind, and leaves nothing behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import Result

Tau = Callable[..., Result]
Snapshot = Callable[[], object]

OTHER = {
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (12, 12),
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": (12, 9),
}


def refused(tau: Tau, left_behind: Snapshot, *arguments: object) -> Result:
    """The result of a command that fails and leaves nothing behind."""
    before = left_behind()
    result = tau(*arguments)
    assert result.exit_code not in (0, 130), result.stdout
    assert result.stdout == ""
    assert left_behind() == before
    return result


def truncated(source: Path) -> Path:
    """The file without its last 100 bytes, in its place."""
    source.write_bytes(source.read_bytes()[:-100])
    return source


@pytest.mark.parametrize("command", [("import",), ("identify",)])
def test_a_truncated_file(tau: Tau, stocked: Path, left_behind: Snapshot, command: tuple[str, ...]) -> None:
    file = truncated(stocked / "papercut.safetensors")
    result = refused(tau, left_behind, *command, file)
    assert result.exit_code == 4
    assert str(file) in result.stderr
    assert "bytes" in result.stderr


def test_a_truncated_file_in_a_recipe(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    file = truncated(stocked / "papercut.safetensors")
    assert refused(tau, left_behind, "compose", f"{file} + lcm").exit_code == 4


def test_a_file_that_is_no_adapter(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    save_file({"weight": torch.zeros(3)}, stocked / "odd.safetensors")
    result = refused(tau, left_behind, "import", stocked / "odd.safetensors")
    assert result.exit_code == 4
    assert "--kind other" in result.stderr
    assert refused(tau, left_behind, "compose", f"{stocked / 'odd.safetensors'} + lcm").exit_code == 4


def test_a_text_file(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    (stocked / "notes.txt").write_text("not weights at all")
    assert refused(tau, left_behind, "import", stocked / "notes.txt").exit_code == 4


def test_a_file_that_is_not_there(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    for command in ("import", "identify"):
        assert refused(tau, left_behind, command, stocked / "nothing.safetensors").exit_code == 3
    assert refused(tau, left_behind, "compose", "./nothing.safetensors + lcm").exit_code == 3


def test_a_vector_for_another_architecture(
    tau: Tau, stocked: Path, left_behind: Snapshot, write_base: Callable[..., Path], write_vector: Callable[..., Path]
) -> None:
    tau("import", write_base(stocked / "wide", OTHER), "--name", "wide")
    tau("import", write_vector(stocked / "w.safetensors", tuple(OTHER), shapes=OTHER), "--name", "wide-style")
    for arguments in (("wide-style + papercut",), ("papercut", "--base", "wide"), ("wide + papercut",)):
        result = refused(tau, left_behind, "compose", *arguments)
        assert result.exit_code == 4
        assert "architecture-mismatch" in result.stderr
        assert "wide" in result.stderr
        assert "tiny" in result.stderr


def test_a_vector_of_no_known_base_names_the_remedy(
    tau: Tau, stocked: Path, left_behind: Snapshot, write_vector: Callable[..., Path]
) -> None:
    file = write_vector(stocked / "w.safetensors", tuple(OTHER), shapes=OTHER)
    result = refused(tau, left_behind, "compose", f"{file} + lcm")
    assert result.exit_code == 4
    assert "--kind base" in result.stderr


def test_an_unknown_name_is_pointed_at_and_the_nearest_is_suggested(
    tau: Tau, stocked: Path, left_behind: Snapshot
) -> None:
    for command in ("check", "compose"):
        result = refused(tau, left_behind, command, "0.8*papercot + lcm")
        assert result.exit_code == 3
        assert "Did you mean papercut" in result.stderr
        assert "  0.8*papercot + lcm\n      ^^^^^^^^\n" in result.stderr


@pytest.mark.parametrize(
    ("recipe", "caret"),
    [
        ("0.8*papercut +", 14),
        ("0.8*papercut +lcm", 13),
        ("0.8 papercut", 4),
        ("papercut | blur(3)", 11),
        ("(papercut", 9),
    ],
)
def test_a_malformed_recipe_shows_the_place(
    tau: Tau, stocked: Path, left_behind: Snapshot, recipe: str, caret: int
) -> None:
    result = refused(tau, left_behind, "compose", recipe)
    assert result.exit_code == 2
    assert f"  {recipe}\n  {' ' * caret}^\n" in result.stderr


def test_weights_that_are_not_a_number(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    tensors = load_file(stocked / "papercut.safetensors")
    key = next(key for key in tensors if key.endswith("lora_up.weight"))
    tensors[key][0, 0] = float("nan")
    save_file(tensors, stocked / "broken.safetensors")
    result = refused(tau, left_behind, "compose", f"{stocked / 'broken.safetensors'} + lcm")
    assert result.exit_code == 4
    assert "non-finite" in result.stderr
    assert "attn" in result.stderr


@pytest.mark.parametrize("recipe", ["0*papercut", "papercut - papercut", "0.5*papercut - 0.5*papercut:1"])
def test_a_composition_that_changes_nothing(tau: Tau, stocked: Path, left_behind: Snapshot, recipe: str) -> None:
    result = refused(tau, left_behind, "compose", recipe, "--name", "nothing")
    assert result.exit_code == 4
    assert "no-change" in result.stderr


def test_a_refused_verdict_is_data_of_check(tau: Tau, stocked: Path) -> None:
    result = tau("check", "papercut - papercut", "-q")
    assert result.exit_code == 4
    assert "no-change" in result.stdout.split()


def test_an_output_that_is_its_own_input(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    file = stocked / "papercut.safetensors"
    assert refused(tau, left_behind, "compose", f"{file} + lcm", "-o", file).exit_code == 5


def test_a_name_of_another_kind(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    for more in ((), ("-o", stocked / "out.safetensors")):
        assert refused(tau, left_behind, "compose", "papercut + lcm", "--name", "lcm", *more).exit_code == 5
    assert refused(tau, left_behind, "compose", "papercut + lcm", "--name", "Lcm", *more).exit_code == 2


def test_an_unknown_layout_or_dtype(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    assert refused(tau, left_behind, "compose", "papercut", "--format", "kohyo").exit_code == 2
    assert refused(tau, left_behind, "compose", "papercut", "--dtype", "fp8").exit_code == 2


def test_a_second_base_of_the_family_asks_which(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    tau("import", stocked / "base", "--name", "twin")
    result = refused(tau, left_behind, "preview", "papercut", "-p", "a circle")
    assert result.exit_code == 2
    assert "tiny:1, twin:1" in result.stderr
    assert "--base" in result.stderr


def test_a_folder_that_cannot_be_written(tau: Tau, stocked: Path, left_behind: Snapshot) -> None:
    (stocked / "file").write_text("in the way")
    result = refused(tau, left_behind, "compose", "papercut", "-o", stocked / "file" / "out.safetensors")
    assert result.exit_code == 1
    assert str(stocked / "file") in result.stderr


def test_a_broken_import_does_not_disturb_what_is_there(tau: Tau, stocked: Path, home: Path) -> None:
    shutil.copy(stocked / "papercut.safetensors", stocked / "again.safetensors")
    tau("import", truncated(stocked / "again.safetensors"))
    assert tau("check", "papercut + lcm").exit_code == 0

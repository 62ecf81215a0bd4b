"""convert, and export in every layout."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import Result

Tau = Callable[..., Result]

BEGINNINGS = {
    "kohya": "lora_unet_down_blocks_0",
    "diffusers": "unet.down_blocks.0",
    "peft": "base_model.model.",
}


@pytest.mark.parametrize("layout", ["kohya", "kohya-sgm", "diffusers", "comfy", "peft"])
def test_every_layout_holds_the_same_vector(layout: str, tau: Tau, stocked: Path, tmp_path: Path) -> None:
    file, out = stocked / "papercut.safetensors", tmp_path / "out"
    result = tau("convert", file, "-o", out, "--format", layout, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["schema"] == "tau.conversion/1"
    assert (found["layout_before"], found["layout"], found["modules"], found["kinds"]) == ("kohya", layout, 2, ["lora"])
    keys = load_file(out / "adapter_model.safetensors" if layout == "peft" else out)
    assert all(key.startswith(BEGINNINGS.get(layout, "")) for key in keys)
    by_name = json.loads(tau("convert", "papercut", "-o", tmp_path / "again", "--format", layout, "--json").stdout)
    assert by_name["layout_hash"] == found["layout_hash"]
    exported = json.loads(tau("export", "papercut", tmp_path / "exported", "--format", layout, "--json").stdout)
    assert (exported["layout"], exported["layout_hash"]) == (layout, found["layout_hash"])


def test_it_is_kohya_where_no_layout_is_named_and_quiet_prints_the_path(
    tau: Tau, stocked: Path, tmp_path: Path
) -> None:
    tau("convert", "papercut", "-o", tmp_path / "peft", "--format", "peft")
    result = tau("convert", tmp_path / "peft", "-o", tmp_path / "back.safetensors", "-q")
    assert result.stdout == f"{tmp_path / 'back.safetensors'}\n"
    shown = tau("convert", tmp_path / "peft", "-o", tmp_path / "back.safetensors").stdout
    assert "peft -> kohya" in shown


def test_a_path_of_a_known_family_needs_no_registry(
    tau: Tau, write_vector: Callable, tmp_path: Path, home: Path
) -> None:
    shapes = {"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (320, 320)}
    file = write_vector(tmp_path / "sd15.safetensors", tuple(shapes), shapes=shapes)
    result = tau("convert", file, "-o", tmp_path / "out", "--format", "comfy")
    assert result.exit_code == 0, result.stderr
    assert "registry: none" in result.stderr
    assert not home.exists()
    assert tau("convert", "papercut", "-o", tmp_path / "again").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("papercut",), 2),
        (("papercut", "-o", "OUT", "--format", "onnx"), 2),
        (("nothing", "-o", "OUT"), 3),
        (("tiny", "-o", "OUT"), 4),
        (("papercut", "-o", "TAKEN"), 5),
        (("papercut", "-o", "TAKEN", "--format", "peft"), 5),
    ],
)
def test_what_cannot_be_converted_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, tau: Tau, stocked: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    places = {"OUT": str(tmp_path / "out"), "TAKEN": str(tmp_path / "taken")}
    result = tau("convert", *(places.get(argument, argument) for argument in arguments))
    assert result.exit_code == code, result.stderr
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*.part"))

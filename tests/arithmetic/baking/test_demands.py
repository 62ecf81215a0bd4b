"""What a bake refuses, and that a refusal or an interruption leaves nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arithmetic.baking import bake
from arithmetic.errors import (
    AlgebraError,
    BoundExceeded,
    Cancelled,
    MissingModule,
    OutputConflict,
    Overflow,
    ShapeMismatch,
)
from formats import read_header


@pytest.mark.parametrize("coefficients", [(0.5, 0.4), (1.0, -1.0), (1.0, 1.0)])
def test_coefficients_that_make_no_base_are_refused(
    coefficients: tuple[float, float], worlds: Callable, other: Any, tmp_path: Path
) -> None:
    bases = list(zip(coefficients, (worlds("fp32").weights("folder"), other.weights("folder")), strict=True))
    with pytest.raises(AlgebraError, match="expected 1 for a base"):
        bake(bases, None, tmp_path / "out")


def test_a_module_that_the_base_lacks_is_an_error(worlds: Callable, other: Any, tmp_path: Path) -> None:
    world = worlds("fp32")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(1.0, world.weights("unet"))], world.source(), tmp_path / "out")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(0.5, world.weights("file")), (0.5, other.weights("unet"))], None, tmp_path / "out")
    with pytest.raises(MissingModule, match="text_encoder"):
        bake([(0.5, world.weights("unet")), (0.5, other.weights("file"))], None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_delta_of_another_size_is_an_error_that_names_the_module(
    worlds: Callable, planted: Callable, tmp_path: Path
) -> None:
    world = worlds("fp32")
    source = planted(world.table, {"unet.conv_in": (64, 9, 3, 3)})
    with pytest.raises(ShapeMismatch, match=r"unet\.conv_in: its delta is \[64, 81\], the base's weight \[64, 36\]"):
        bake([(1.0, world.weights("folder"))], source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_what_fp16_cannot_hold_is_an_error_that_names_the_module(
    worlds: Callable, planted: Callable, tmp_path: Path
) -> None:
    world = worlds("fp16")
    source = planted(world.table, {"unet.mid_block.resnets.0.conv1": (128, 128, 3, 3)}, size=1e5)
    with pytest.raises(Overflow, match=r"unet\.mid_block\.resnets\.0\.conv1: an entry is .* float16"):
        bake([(1.0, world.weights("file"))], source, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_nothing_to_change_and_nothing_changed_are_errors(worlds: Callable, planted: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    with pytest.raises(AlgebraError, match="nothing would change"):
        bake([(1.0, world.weights("file"))], None, tmp_path / "out")
    lost = planted(world.table, {"unet.conv_in": (64, 4, 3, 3)}, size=1e-12)
    with pytest.raises(BoundExceeded, match="no weight moved"):
        bake([(1.0, world.weights("file"))], lost, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("phase", ["writing", "proving"])
def test_an_interruption_leaves_nothing(phase: str, kind: str, worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")

    def interrupt(now: str, done: int, total: int) -> None:
        if now == phase and done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bake(
            [(1.0, world.weights(kind))], world.source(), tmp_path / "out", residual=tmp_path / "r", progress=interrupt
        )
    asked = iter(range(10**6))
    with pytest.raises(Cancelled, match="nothing was written"):
        bake([(1.0, world.weights(kind))], world.source(), tmp_path / "out", cancelled=lambda: next(asked) > 9)
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_is_replaced_by_a_success_and_kept_by_a_failure(
    worlds: Callable, planted: Callable, tmp_path: Path
) -> None:
    world = worlds("fp16")
    place = tmp_path / "out.safetensors"
    place.write_bytes(b"earlier")
    with pytest.raises(Overflow):
        bake([(1.0, world.weights("file"))], planted(world.table, {"unet.conv_in": (64, 4, 3, 3)}, size=1e9), place)
    assert place.read_bytes() == b"earlier"
    bake([(1.0, world.weights("file"))], world.source(), place)
    assert read_header(place).tensors.keys() == read_header(world.file).tensors.keys()


def test_inputs_and_folders_are_never_overwritten(worlds: Callable, tmp_path: Path) -> None:
    world = worlds("fp16")
    (tmp_path / "taken").mkdir()
    for kind, place in (
        ("file", world.file),
        ("file", tmp_path / "taken"),
        ("folder", world.folder),
        ("folder", world.folder / "inside"),
        ("folder", tmp_path / "taken"),
    ):
        with pytest.raises(OutputConflict):
            bake([(1.0, world.weights(kind))], world.source(), place)
    with pytest.raises(OutputConflict):
        bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", residual=world.file)
    with pytest.raises(OutputConflict):
        bake([(1.0, world.weights("file"))], world.source(), tmp_path / "out", residual=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken"]

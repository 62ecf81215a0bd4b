"""What is measured of a vector is recorded once, and used from then on."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from arithmetic import Measures, open_vector
from registry import Registry
from workbench.intake.importing import import_file
from workbench.intake.library import import_folder
from workbench.recipes.architectures import Architectures
from workbench.recipes.references import resolve
from workbench.sums.measuring import measure_version, measures_of, recorded_measures


def test_importing_one_vector_measures_it(stocked: Registry) -> None:
    version = stocked.get("soft")
    recorded = recorded_measures(stocked, version)
    assert recorded is not None
    vector = Architectures(stocked).open(resolve(stocked, "soft"))
    dense = torch.cat([vector.delta(module).dense().flatten() for module in vector.modules])
    assert recorded.norm == pytest.approx(dense.norm().item(), rel=1e-6)


def test_a_base_and_a_file_of_no_family_are_not_measured(stocked: Registry, tmp_path: Path) -> None:
    assert recorded_measures(stocked, stocked.get("tiny")) is None
    (tmp_path / "note.txt").write_text("x")
    assert measure_version(stocked, import_file(stocked, tmp_path / "note.txt", kind="other")) is None


def test_a_folder_is_taken_in_without_measuring_and_measured_on_first_use(
    based: Registry, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "soft.safetensors").write_bytes(lora())
    import_folder(based, tmp_path / "library")
    version = based.get("soft")
    assert recorded_measures(based, version) is None
    taken = measures_of(based, version, Architectures(based).open(resolve(based, "soft")))
    assert recorded_measures(based, version) == taken


def test_what_was_recorded_is_not_measured_again(stocked: Registry, vector_file: Path) -> None:
    """The file is emptied after it was opened: who reads a tensor of it fails."""
    hollow = open_vector(vector_file, Architectures(stocked).open(resolve(stocked, "soft")).architecture)
    content = vector_file.read_bytes()
    vector_file.write_bytes(content[: 8 + int.from_bytes(content[:8], "little")])
    assert measures_of(stocked, stocked.get("soft"), hollow).covers(hollow)


def test_measures_of_another_release_are_taken_again(stocked: Registry) -> None:
    version = stocked.get("soft")
    before = recorded_measures(stocked, version)
    assert before is not None
    stocked.measurements.record(version, b"TAUM\x63" + before.to_bytes()[5:], largest_norm=1.0, is_finite=True)
    assert recorded_measures(stocked, version) is None
    assert measures_of(stocked, version, Architectures(stocked).open(resolve(stocked, "soft"))) == before
    assert recorded_measures(stocked, version) == before


def test_a_vector_with_no_numbers_in_it_is_recorded_as_that(based: Registry, vector_file: Path, tmp_path: Path) -> None:
    tensors = load_file(vector_file)
    tensors[next(iter(tensors))].fill_(float("nan"))
    save_file(tensors, tmp_path / "broken.safetensors")
    recorded = recorded_measures(based, import_file(based, tmp_path / "broken.safetensors"))
    assert isinstance(recorded, Measures)
    assert len(recorded.non_finite) == 1

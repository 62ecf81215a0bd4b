"""Exported folders: which of their files are the version's own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import InvalidName, Registry
from registry.exported import SCHEMA, own_names, provenance_in, sole_file
from registry.sources import open_source


def mark(folder: Path, files: Any, schema: str = SCHEMA) -> Path:
    """Write the provenance of an export of those files."""
    folder.mkdir(exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps({"schema": schema, "files": files}))
    return folder


def test_only_the_versions_own_files_are_content_under_its_own_names(tmp_path: Path) -> None:
    files = [{"path": "a.json", "artifact": "a.json"}, {"path": "original-README.md", "artifact": "README.md"}]
    folder = mark(tmp_path / "out", files)
    for name in ("a.json", "original-README.md", "README.md", "picture.png"):
        (folder / name).write_text("{}")
    source = open_source(folder)
    assert [file.path for file in source.files] == ["README.md", "a.json"]
    assert source.left_out == ("README.md", "picture.png", "provenance.json")


def test_an_exported_version_of_one_file_is_that_file(tmp_path: Path) -> None:
    folder = mark(tmp_path / "out", [{"path": "papercut.safetensors", "artifact": "weights.safetensors"}])
    assert sole_file(folder) is None
    (folder / "papercut.safetensors").write_bytes(b"")
    assert sole_file(folder) == folder / "papercut.safetensors"


@pytest.mark.parametrize(
    "files",
    [
        "not a list",
        [1, None, "x"],
        [{"path": "a", "artifact": "x"}, {"path": "b", "artifact": "x"}],
    ],
)
def test_a_damaged_list_names_nothing(tmp_path: Path, files: Any) -> None:
    assert own_names(mark(tmp_path / "out", files)) == {}


def test_other_documents_of_that_name_are_no_provenance(tmp_path: Path) -> None:
    assert provenance_in(mark(tmp_path / "other", [], schema="somebody/1")) is None
    (tmp_path / "other" / "provenance.json").write_text("[" * 100_000)
    assert provenance_in(tmp_path / "other") is None
    assert provenance_in(tmp_path / "missing") is None


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "a//b", "C:evil"])
def test_a_name_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    folder = mark(tmp_path / "out", [{"path": "a.json", "artifact": name}])
    (folder / "a.json").write_text("{}")
    with pytest.raises(InvalidName):
        open_source(folder)


def test_a_path_that_leads_outside_is_no_sole_file(tmp_path: Path, write_vector: Callable[..., Path]) -> None:
    outside = write_vector()
    folder = mark(tmp_path / "out", [{"path": f"../files/{outside.name}", "artifact": "weights.safetensors"}])
    assert sole_file(folder) is None


def test_a_folder_without_provenance_is_read_as_before(registry: Registry, write_base: Callable[..., Path]) -> None:
    folder = write_base()
    one = registry.add(folder, kind="base", name="one")
    mark(folder, [], schema="somebody/1")
    two = registry.add(folder, kind="base", name="two")
    assert {artifact.path for artifact in two.artifacts} - {artifact.path for artifact in one.artifacts} == {
        "provenance.json"
    }

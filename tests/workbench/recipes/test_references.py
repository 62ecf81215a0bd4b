"""What a reference stands for."""

import hashlib
import shutil
from pathlib import Path

import pytest

from registry import NotFound, Registry
from workbench.errors import UnknownPath
from workbench.recipes.references import is_path, resolve


@pytest.mark.parametrize("text", ["./a.safetensors", "../a", "/a/b", "~/a", "a/b", "C:\\a.safetensors", "C:/a"])
def test_what_leads_through_folders_is_a_path(text: str) -> None:
    assert is_path(text)


@pytest.mark.parametrize("text", ["papercut", "papercut:3", "papercut@production", "sha256:abcdef12", "a.safetensors"])
def test_a_name_is_never_taken_for_a_path(text: str) -> None:
    assert not is_path(text)


def test_a_file_and_its_version_are_locked_to_the_same_digest(stocked: Registry, vector_file: Path) -> None:
    by_name, by_path = resolve(stocked, "soft"), resolve(stocked, str(vector_file))
    assert by_name.locked == by_path.locked == f"sha256:{hashlib.sha256(vector_file.read_bytes()).hexdigest()}"
    assert (by_name.version.ref, by_path.version) == ("soft:1", None)


def test_a_folder_is_locked_to_the_digest_that_its_version_has(stocked: Registry, base_folder: Path) -> None:
    assert resolve(stocked, str(base_folder)).sha256 == resolve(stocked, "tiny").version.digest


def test_every_lock_leads_back_to_its_content(stocked: Registry) -> None:
    for name in ("soft", "tiny"):
        assert resolve(stocked, resolve(stocked, name).locked).path == resolve(stocked, name).path


def test_a_file_that_only_looks_like_a_name_is_not_opened(stocked: Registry, vector_file: Path, tmp_path: Path) -> None:
    shutil.copy(vector_file, tmp_path / "other.safetensors")
    with pytest.raises(NotFound):
        resolve(stocked, "other.safetensors")


def test_a_path_at_which_nothing_lies_is_named(stocked: Registry) -> None:
    with pytest.raises(UnknownPath, match=r"nowhere\.safetensors"):
        resolve(stocked, "./nowhere.safetensors")

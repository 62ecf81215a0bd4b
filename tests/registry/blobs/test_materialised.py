import json
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import CorruptBlob, Refused, Registry

Write = Callable[..., Path]


def test_a_base_comes_back_as_the_folder_that_it_was(registry: Registry, write_base: Write) -> None:
    source = write_base()
    folder = registry.folder(registry.add(source, kind="base"))
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) == files
    assert all((folder / file).read_bytes() == (source / file).read_bytes() for file in files)


def test_a_folder_is_made_once_and_again_when_it_is_no_longer_whole(registry: Registry, base: str) -> None:
    version = registry.get(base)
    folder = registry.folder(version)
    inode = folder.stat().st_ino
    assert registry.folder(version).stat().st_ino == inode
    (folder / "model_index.json").unlink()
    assert json.loads((registry.folder(version) / "model_index.json").read_text())
    assert [path.name for path in folder.parent.iterdir()] == [version.digest]


def test_a_registry_that_was_moved_still_shows_its_files(registry: Registry, base: str, tmp_path: Path) -> None:
    registry.folder(registry.get(base))
    registry.close()
    moved = registry.home.rename(tmp_path / "moved")
    with Registry.open(moved) as again:
        folder = again.folder(again.get(base))
        assert (folder / "model_index.json").resolve().is_relative_to(moved)


@pytest.mark.usefixtures("base")
def test_a_vector_is_opened_from_its_one_file(registry: Registry, write_vector: Write) -> None:
    path = write_vector()
    assert registry.file(registry.add(path, kind="style")).read_bytes() == path.read_bytes()


@pytest.mark.usefixtures("base")
def test_a_peft_vector_is_opened_from_its_folder_and_a_diffusers_one_from_its_file(
    registry: Registry, write_vector: Write, tmp_path: Path
) -> None:
    for name, config in (("adapter_model", '{"r": 2, "lora_alpha": 2}'), ("pytorch_lora_weights", None)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.safetensors").write_bytes(write_vector().read_bytes())
        (folder / "README.md").write_text("a card")
        if config:
            (folder / "adapter_config.json").write_text(config)
    peft = registry.add(tmp_path / "adapter_model", kind="other")
    plain = registry.add(tmp_path / "pytorch_lora_weights", kind="other")
    assert registry.file(peft) == registry.folder(peft)
    assert registry.file(plain) == registry.folder(plain) / "pytorch_lora_weights.safetensors"


def test_a_base_is_no_single_file(registry: Registry, base: str) -> None:
    with pytest.raises(Refused, match="Open its folder instead"):
        registry.file(registry.get(base))


def test_missing_bytes_are_an_error_and_no_half_folder_is_left(registry: Registry, base: str) -> None:
    version = registry.get(base)
    registry.blob_path(version.artifacts[-1].sha256).unlink()
    with pytest.raises(CorruptBlob, match="Import the original file again"):
        registry.folder(version)
    assert list(registry.home.glob("materialised/*")) == []

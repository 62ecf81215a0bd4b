"""Pickles: kept byte for byte, never opened, whatever they are called."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from formats import FormatError
from registry import Refused, Registry

Write = Callable[..., Path]
Stored = Callable[[], set[str]]

LAUGHS = "laughed"


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """What an opened bomb leaves behind."""
    return tmp_path / LAUGHS


def write(path: Path, mark: Path) -> bytes:
    """A pickle that runs code, and its bytes."""
    path.write_bytes(pickle.dumps(Bomb(mark)))
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pkl", ".dat", "", ".safetensors"])
def test_a_pickle_is_kept_closed_under_any_name(registry: Registry, tmp_path: Path, mark: Path, suffix: str) -> None:
    content = write(tmp_path / f"model{suffix}", mark)
    version = registry.add(tmp_path / f"model{suffix}", kind="other", name="kept")
    (artifact,) = version.artifacts
    assert (artifact.role, artifact.media_type) == ("quarantined", "application/octet-stream")
    assert registry.blob_path(artifact.sha256).read_bytes() == content
    assert version.facts is not None
    assert "can run code" in version.facts["warnings"][0]
    for open_it in (registry.file, registry.folder):
        with pytest.raises(Refused, match="stays closed"):
            open_it(version)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("kind", ["style", "base", "acceleration", "composition"])
def test_a_pickle_is_nothing_that_could_be_used(
    registry: Registry, tmp_path: Path, mark: Path, kind: str, name: str, stored_files: Stored
) -> None:
    write(tmp_path / name, mark)
    before = stored_files()
    with pytest.raises(Refused, match=r"is a pickle .*kind other"):
        registry.add(tmp_path / name, kind=kind)
    assert registry.search() == []
    assert stored_files() == before
    assert not mark.exists()


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapters_folder_with_a_pickle_for_weights_is_kept_closed_and_whole(
    registry: Registry, tmp_path: Path, mark: Path, name: str
) -> None:
    folder = tmp_path / "peft"
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    write(folder / name, mark)
    with pytest.raises(Refused, match="is a pickle"):
        registry.add(folder, kind="style")
    version = registry.add(folder, kind="other")
    assert {(one.path, one.role) for one in version.artifacts} == {
        ("adapter_config.json", "quarantined"),
        (name, "quarantined"),
    }
    with pytest.raises(Refused, match="stays closed"):
        registry.folder(version)
    assert not mark.exists()


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".BIN"])
def test_safetensors_that_are_named_like_a_pickle_are_the_same_content_as_under_their_own_name(
    registry: Registry, write_vector: Write, suffix: str
) -> None:
    path = write_vector("papercut")
    false = path.rename(path.with_suffix(suffix))
    version = registry.add(false, kind="style")
    (artifact,) = version.artifacts
    assert (artifact.path, artifact.role) == ("weights.safetensors", "weights")
    assert registry.file(version).read_bytes() == false.read_bytes()
    assert registry.add(write_vector("papercut"), kind="style").ref == version.ref == "papercut:1"


@pytest.mark.parametrize("kind", ["style", "other"])
@pytest.mark.parametrize("content", [b"", bytes(64), b"\x02\0\0\0\0\0\0\0{]", (9).to_bytes(8, "little") + b"{}"])
def test_broken_safetensors_are_no_pickle_and_refused(
    registry: Registry, tmp_path: Path, content: bytes, kind: str, stored_files: Stored
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    before = stored_files()
    with pytest.raises(FormatError, match=r"model\.safetensors: not a readable safetensors file"):
        registry.add(path, kind=kind)
    assert registry.search() == []
    assert stored_files() == before

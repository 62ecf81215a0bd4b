"""Pickles: kept byte for byte, never opened, whatever they are called."""

import pickle
from pathlib import Path

import pytest

from formats import FormatError
from registry import Refused, Registry

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


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pkl", ".dat", ""])
def test_a_pickle_is_kept_closed_under_any_name(registry: Registry, tmp_path: Path, mark: Path, suffix: str) -> None:
    content = write(tmp_path / f"model{suffix}", mark)
    version = registry.add(tmp_path / f"model{suffix}", kind="other", name="kept")
    (artifact,) = version.artifacts
    assert (artifact.role, registry.blob_path(artifact.sha256).read_bytes()) == ("quarantined", content)
    for open_it in (registry.file, registry.folder):
        with pytest.raises(Refused, match="stays closed"):
            open_it(version)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["style", "base", "acceleration", "composition"])
def test_a_pickle_is_nothing_that_could_be_used(registry: Registry, tmp_path: Path, mark: Path, kind: str) -> None:
    write(tmp_path / "model.ckpt", mark)
    with pytest.raises(Refused, match=r"is a pickle .*kind other"):
        registry.add(tmp_path / "model.ckpt", kind=kind)
    assert registry.search() == []
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["style", "other"])
def test_a_pickle_that_is_called_safetensors_is_refused(
    registry: Registry, tmp_path: Path, mark: Path, kind: str
) -> None:
    write(tmp_path / "model.safetensors", mark)
    with pytest.raises((FormatError, Refused)):
        registry.add(tmp_path / "model.safetensors", kind=kind)
    assert registry.search() == []
    assert not mark.exists()

"""A header with other words: every tensor keeps its bytes and its place."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from formats import HeaderError, digest, read_header
from formats.rewriting import rewrite_metadata

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(1.5), "ü": torch.ones(3, dtype=torch.float16)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file with a path in its header."""
    save_file(TENSORS, tmp_path / "source.safetensors", metadata={"a": "/home/ann/x", "b": "kept"})
    return tmp_path / "source.safetensors"


@pytest.mark.parametrize("metadata", [{}, {"a": "x", "b": "kept"}, {"c": "é" * 10_000}])
def test_only_the_header_changes(source: Path, tmp_path: Path, metadata: dict[str, str]) -> None:
    rewrite_metadata(source, tmp_path / "out.safetensors", metadata)
    before, after = digest(source), digest(tmp_path / "out.safetensors")
    assert (after.data_sha256, after.tensor_hash) == (before.data_sha256, before.tensor_hash)
    assert after.sha256 != before.sha256
    header = read_header(tmp_path / "out.safetensors")
    assert header.metadata == metadata
    assert header.tensors == read_header(source).tensors
    assert header.data_start % 8 == 0
    assert all(torch.equal(tensor, TENSORS[key]) for key, tensor in load_file(tmp_path / "out.safetensors").items())


def test_an_unreadable_file_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"12345678{")
    with pytest.raises(HeaderError):
        rewrite_metadata(tmp_path / "broken.safetensors", tmp_path / "out.safetensors", {})
    assert not (tmp_path / "out.safetensors").exists()


def test_nothing_is_overwritten(source: Path) -> None:
    with pytest.raises(FileExistsError):
        rewrite_metadata(source, source, {})

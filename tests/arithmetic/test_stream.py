from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arithmetic.stream import Slot, tensor_stream
from formats import read_header

SLOTS = (Slot("alpha", "F32", ()), Slot("b", "F16", (3, 1)), Slot("a", "BF16", (2, 2)))
TENSORS = {
    "alpha": torch.tensor(4.0),
    "b": torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float16),
    "a": torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.bfloat16).T,
}


def test_the_ordinary_reader_reads_what_was_streamed(tmp_path: Path) -> None:
    with tensor_stream(tmp_path / "v", SLOTS, {"über": "ja"}) as stream:
        for key, tensor in TENSORS.items():
            stream.write(key, tensor)
    stored = load_file(tmp_path / "v")
    assert all(torch.equal(stored[key], tensor) for key, tensor in TENSORS.items())
    header = read_header(tmp_path / "v")
    assert header.metadata == {"über": "ja"}
    assert header.data_start % 8 == 0


@pytest.mark.parametrize(
    ("key", "tensor"),
    [("b", torch.tensor(4.0)), ("alpha", torch.zeros(2)), ("alpha", torch.tensor(4.0, dtype=torch.float64))],
)
def test_a_tensor_that_was_not_announced_is_refused(key: str, tensor: torch.Tensor, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"), tensor_stream(tmp_path / "v", SLOTS, {}) as stream:
        stream.write(key, tensor)


def test_a_tensor_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never written"), tensor_stream(tmp_path / "v", SLOTS, {}) as stream:
        stream.write("alpha", TENSORS["alpha"])


def test_one_tensor_too_many_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced None"), tensor_stream(tmp_path / "v", (), {}) as stream:
        stream.write("alpha", TENSORS["alpha"])

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from arithmetic.files.stream import Slot, header_bytes, tensor_stream
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


LIMITS = (
    Slot("alpha", "F32", ()),
    Slot("down", "F32", (1000, 3), is_limit=True),
    Slot("up", "F16", (5, 1000, 1, 1), is_limit=True),
)


@pytest.mark.parametrize("rank", [1, 7, 1000])
def test_a_rank_within_its_limit_is_written_as_it_is_found(rank: int, tmp_path: Path) -> None:
    """The room that the header kept for more digits is spaces; the data begin where they would have."""
    tensors = {
        "alpha": torch.tensor(2.0),
        "down": torch.arange(rank * 3.0).reshape(rank, 3),
        "up": torch.ones(5, rank, 1, 1, dtype=torch.float16),
    }
    with tensor_stream(tmp_path / "v", LIMITS, {"rank": "unknown yet, at most 1000"}) as stream:
        for key, tensor in tensors.items():
            stream.write(key, tensor)
        stream.metadata = {"rank": str(rank)}
    stored = load_file(tmp_path / "v")
    assert all(torch.equal(stored[key], tensor) for key, tensor in tensors.items())
    header = read_header(tmp_path / "v")
    assert header.metadata == {"rank": str(rank)}
    assert header.data_start == len(header_bytes(LIMITS, {"rank": "unknown yet, at most 1000"}))
    assert header.data_start % 8 == 0


@pytest.mark.parametrize("shape", [(1001, 3), (4, 4), (4, 3, 1), (12,)])
def test_a_shape_beyond_its_limit_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"), tensor_stream(tmp_path / "v", LIMITS[1:], {}) as stream:
        stream.write("down", torch.zeros(shape))


def test_without_a_limit_a_smaller_tensor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"), tensor_stream(tmp_path / "v", SLOTS[1:], {}) as stream:
        stream.write("b", torch.zeros(2, 1, dtype=torch.float16))


def test_words_that_outgrow_the_room_kept_for_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="were kept"), tensor_stream(tmp_path / "v", SLOTS[:1], {"a": "b"}) as stream:
        stream.write("alpha", TENSORS["alpha"])
        stream.metadata = {"a": "b" * 100}


@pytest.mark.parametrize("order", [("b", "alpha", "a"), ("alpha", "a", "b"), ("alpha", "alpha", "b")])
def test_another_order_than_the_headers_is_refused(order: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="announced"), tensor_stream(tmp_path / "v", SLOTS, {}) as stream:
        for key in order:
            stream.write(key, TENSORS[key])


def test_slices_along_the_first_axis_are_one_tensor(tmp_path: Path) -> None:
    whole = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with tensor_stream(tmp_path / "v", (Slot("w", "F32", (6, 3)),), {}) as stream:
        stream.write("w", whole[:1], whole[1:4], whole[4:])
    assert torch.equal(load_file(tmp_path / "v")["w"], whole)


@pytest.mark.parametrize(
    "parts", [(torch.zeros(2, 3), torch.zeros(2, 4)), (torch.zeros(2, 3), torch.zeros(2, 3).half())]
)
def test_slices_that_make_no_tensor_are_refused(parts: tuple[torch.Tensor, ...], tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="announced"),
        tensor_stream(tmp_path / "v", (Slot("w", "F32", (4, 3)),), {}) as s,
    ):
        s.write("w", *parts)

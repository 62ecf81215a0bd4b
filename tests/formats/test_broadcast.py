import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from formats.broadcast import BUFFERS, CHUNK_BYTES, INLINE_BYTES, broadcast

SIZES = [0, 1, 5000, CHUNK_BYTES, INLINE_BYTES, INLINE_BYTES + 1, BUFFERS * CHUNK_BYTES, 2 * BUFFERS * CHUNK_BYTES + 7]


def read(path: Path, consumers: list[Callable[[memoryview], object]]) -> int:
    with path.open("rb", buffering=0) as file:
        return broadcast(file, path.stat().st_size, consumers)


@pytest.mark.parametrize("size", SIZES)
def test_every_consumer_gets_every_byte_in_order(size: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    seen: list[bytearray] = [bytearray(), bytearray(), bytearray()]
    assert read(path, [one.extend for one in seen]) == size
    assert all(one == path.read_bytes() for one in seen)


def test_a_slow_consumer_bounds_how_far_the_others_are_ahead(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BUFFERS * CHUNK_BYTES))
    slow, fast, ahead = [0], [0], [0]
    step = threading.Event()

    def hurry(chunk: memoryview) -> None:
        fast[0] += 1
        ahead[0] = max(ahead[0], fast[0] - slow[0])

    def dawdle(chunk: memoryview) -> None:
        step.wait(0.002)
        slow[0] += 1

    read(path, [hurry, dawdle])
    assert slow == fast == [3 * BUFFERS]
    assert ahead[0] <= BUFFERS + 1


@pytest.mark.parametrize("size", [100, 3 * BUFFERS * CHUNK_BYTES])
@pytest.mark.parametrize("at", [1, 2])
def test_what_a_consumer_raises_is_raised_and_no_thread_is_left(size: int, at: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    before, calls = threading.active_count(), [0]

    def fail(chunk: memoryview) -> None:
        calls[0] += 1
        if calls[0] == (at if size > CHUNK_BYTES else 1):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        read(path, [lambda chunk: None, fail])
    assert threading.active_count() == before

"""A file read once, every chunk of it handed to several consumers, each at work in a thread of its own."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import BinaryIO

Consumer = Callable[[memoryview], object]
"""Takes the chunks in their order. It must be done with a chunk when it returns: the buffer is used again."""

CHUNK_BYTES = 1 << 20
BUFFERS = 8
"""How many chunks the fastest consumer can be ahead of the slowest; with CHUNK_BYTES the bound of the memory used."""

INLINE_BYTES = 4 << 20
"""Up to this size a file is read here and now: threads cost more than they save."""


def broadcast(file: BinaryIO, size: int, consumers: Sequence[Consumer]) -> int:
    """Hand everything that `file` (unbuffered, about `size` bytes) holds to each of `consumers`; the bytes read.

    Hashes and writes release the interpreter's lock, so they overlap. Raises what a consumer raises.
    """
    if size <= INLINE_BYTES:
        return _inline(file, size, consumers)
    stage = _Stage([_Lane(consumer) for consumer in consumers])
    with ThreadPoolExecutor(len(consumers), thread_name_prefix="broadcast") as pool:
        try:  # whatever comes from here on, an interruption too: every lane that runs is ended, or leaving would wait
            running = [pool.submit(lane.run, stage.done, stage.failed) for lane in stage.lanes]
            total = stage.read(file)
        finally:
            stage.close()
        for lane in running:
            lane.result()
    return total


def _inline(file: BinaryIO, size: int, consumers: Sequence[Consumer]) -> int:
    buffer = bytearray(min(max(size, 1 << 12), CHUNK_BYTES))
    total = 0
    while count := file.readinto(buffer):  # type: ignore[attr-defined]
        with memoryview(buffer) as whole, whole[:count] as chunk:
            for consume in consumers:
                consume(chunk)
        total += count
    return total


class _Lane:
    """One consumer and the chunks that wait for it; None ends it."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.waiting: SimpleQueue[tuple[int, memoryview] | None] = SimpleQueue()

    def run(self, done: "SimpleQueue[int]", failed: threading.Event) -> None:
        """Consume until the end. After an error the remaining chunks are only handed back."""
        error: BaseException | None = None
        while (entry := self.waiting.get()) is not None:
            index, chunk = entry
            try:
                if error is None:
                    self.consumer(chunk)
            except BaseException as raised:
                error = raised
                failed.set()
            chunk.release()
            done.put(index)
        if error is not None:
            raise error


class _Stage:
    """The buffers between one reader and its lanes: a buffer is filled again when every lane is done with it."""

    def __init__(self, lanes: Sequence[_Lane]) -> None:
        self.lanes = lanes
        self.done: SimpleQueue[int] = SimpleQueue()
        self.failed = threading.Event()
        self._users = [0] * BUFFERS

    def read(self, file: BinaryIO) -> int:
        """Read to the end, or until a lane has failed; the bytes read."""
        buffers = [memoryview(bytearray(CHUNK_BYTES)) for _ in range(BUFFERS)]
        total = turn = 0
        while not self.failed.is_set():
            index = turn % BUFFERS
            self._wait_for(index)
            count = file.readinto(buffers[index])  # type: ignore[attr-defined]
            if not count:
                break
            self._users[index] = len(self.lanes)
            for lane in self.lanes:
                lane.waiting.put((index, buffers[index][:count]))
            total += count
            turn += 1
        return total

    def close(self) -> None:
        """Let every lane end after what waits for it."""
        for lane in self.lanes:
            lane.waiting.put(None)

    def _wait_for(self, index: int) -> None:
        while self._users[index]:
            self._users[self.done.get()] -= 1

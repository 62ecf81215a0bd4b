"""Who says that a job is to stop, and how a process hears it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

FAILED = 1
"""The exit code of a process that did not end in its grace time."""


class StopRequests:
    """Why to stop, as soon as somebody says so: SIGTERM, or the end of the worker that started this process."""

    def __init__(self) -> None:
        self.reason: str | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Take a signal as a request."""
        self.reason = "the worker asked"

    def listen(self) -> None:
        """Take SIGTERM as a request from now on."""
        signal.signal(signal.SIGTERM, self.on_signal)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGTERM is a request; signals reach the main thread alone, so elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self.on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def listen_to_worker(self, grace_seconds: float) -> None:
        """Take the end of standard input, which the worker holds open, as a request; end by force after the grace."""
        threading.Thread(target=self._watch_worker, args=(grace_seconds,), daemon=True).start()

    def _watch_worker(self, grace_seconds: float) -> None:
        while os.read(sys.stdin.fileno(), 1):
            pass
        self.reason = "the worker is gone"
        time.sleep(grace_seconds)
        os._exit(FAILED)


def first_line() -> str:
    """The first line of standard input and not a byte more, so that the watch sees what follows."""
    line = bytearray()
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()

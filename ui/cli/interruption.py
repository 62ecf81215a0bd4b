"""Ctrl-C, remembered: C code that a KeyboardInterrupt hits may turn it into another error, or swallow it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ASKED = threading.Event()


def asked_to_stop() -> bool:
    """Whether Ctrl-C was pressed since the command began; long operations ask this between their steps."""
    return _ASKED.is_set()


@contextmanager
def remembered_interruption() -> Iterator[None]:
    """Inside, SIGINT raises KeyboardInterrupt as ever, and is remembered. Off the main thread nothing changes."""
    _ASKED.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, _remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _remember(number: int, frame: FrameType | None) -> None:
    _ASKED.set()
    signal.default_int_handler(number, frame)

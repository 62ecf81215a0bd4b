"""How far a long operation is, and how long it will still take."""

import time
from collections.abc import Callable
from dataclasses import dataclass

ITEM_BYTES = 256 << 10
"""What opening and recording one item costs, as bytes that could be copied in the same time."""


@dataclass(frozen=True)
class Progress:
    """Bytes and items that are done, of all; `seconds_left` is None until something is done."""

    done_bytes: int
    total_bytes: int
    done_items: int
    total_items: int
    note: str
    seconds_left: float | None


Tell = Callable[[Progress], None]


class Pace:
    """Counts what is done and tells `tell` about it."""

    def __init__(
        self,
        total_bytes: int,
        total_items: int,
        tell: Tell | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total_bytes = total_bytes
        self.total_items = total_items
        self._tell = tell
        self._clock = clock
        self._began = clock()
        self._bytes = 0
        self._items = 0

    def advance(self, done_bytes: int, note: str, items: int = 1) -> None:
        """`items` more are done, with `done_bytes` bytes between them."""
        self._bytes += done_bytes
        self._items += items
        if self._tell is not None:
            self._tell(self.progress(note))

    def progress(self, note: str = "") -> Progress:
        """How far it is now."""
        return Progress(self._bytes, self.total_bytes, self._items, self.total_items, note, self._seconds_left())

    def _seconds_left(self) -> float | None:
        done = self._bytes + ITEM_BYTES * self._items
        if not done:
            return None
        left = self.total_bytes - self._bytes + ITEM_BYTES * (self.total_items - self._items)
        return max(0.0, (self._clock() - self._began) * left / done)

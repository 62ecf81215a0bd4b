"""What is costly to make, kept between the jobs of one process as long as its memory is not wanted."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

FreeBytes = Callable[[], int]
"""How many bytes are free now, where the things are."""


@dataclass(frozen=True)
class Kept:
    """A thing, and the bytes that it takes while it lies there."""

    thing: Any
    size: int


class Shelf:
    """Keeps things until their memory is wanted: the one that was not used for the longest time goes first.

    `room` is how many bytes they may take together; None: as many as there are. `made` counts the making.
    """

    def __init__(self, room: int | None = None) -> None:
        if room is not None and room < 1:
            raise ValueError(f"room {room}: expected 1 byte or more, or None for what is free.")
        self.made = 0
        self._room = room
        self._things: OrderedDict[Hashable, Kept] = OrderedDict()

    @property
    def kept_bytes(self) -> int:
        """What everything that lies here takes, and what would be free without it."""
        return sum(kept.size for kept in self._things.values())

    def get(
        self, key: Hashable, make: Callable[[], T], *, size: int = 0, needed: int = 0, free: FreeBytes | None = None
    ) -> T:
        """What lies under `key`, made where it is not there; place is made before, so that both are never there.

        It takes `size` bytes while it lies there and `needed` at the peak of its use, which `free` must be able to
        give; others go until it can, or none is left.
        """
        here = self._things.pop(key, None)
        more = max(needed, size) - (0 if here is None else here.size)
        while self._things and self._is_crowded(size, more, free):
            self._things.popitem(last=False)
        if here is None:
            here = Kept(make(), size)
            self.made += 1
        self._things[key] = here
        thing: T = here.thing
        return thing

    def drop(self, key: Hashable) -> None:
        """Keep it no longer."""
        self._things.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._things

    def _is_crowded(self, size: int, more: int, free: FreeBytes | None) -> bool:
        """Whether the others leave too little: of the room for `size` bytes, of the memory for `more`."""
        if self._room is not None and self.kept_bytes + size > self._room:
            return True
        return free is not None and free() < more

"""What is costly to make, kept between the jobs of one process."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class Shelf:
    """Room for so many things; the one that was not used for the longest time goes first. `made` counts the making."""

    def __init__(self, room: int = 1) -> None:
        if room < 1:
            raise ValueError(f"room {room}: expected 1 or more.")
        self.made = 0
        self._room = room
        self._things: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """What lies under `key`, made where it is not there; room is made before, so that both are never there."""
        if key not in self._things:
            while len(self._things) >= self._room:
                self._things.popitem(last=False)
            self._things[key] = make()
            self.made += 1
        self._things.move_to_end(key)
        thing: T = self._things[key]
        return thing

    def drop(self, key: Hashable) -> None:
        """Keep it no longer."""
        self._things.pop(key, None)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._things

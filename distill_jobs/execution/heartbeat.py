"""The heartbeat of a process that works under a lease by itself, on a thread of its own."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy.exc import OperationalError

from registry import LeaseLost
from registry.jobs import Wanted


class Heartbeat:
    """Inside, `renew` is called every `every_seconds`; `reason` says why to stop: what is wanted, or a lost lease.

    A database that does not answer is asked again at the next beat; a lease that ran out meanwhile ends at the next
    write.
    """

    def __init__(self, renew: Callable[[], Wanted], every_seconds: float) -> None:
        self.reason: str | None = None
        self._renew, self._every_seconds = renew, every_seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._every_seconds):
            try:
                wanted = self._renew()
            except OperationalError:
                continue
            except LeaseLost:
                self.reason = None if self._over.is_set() else "the lease is lost"
                return
            self.reason = None if wanted == Wanted.RUN else f"{wanted} wanted"

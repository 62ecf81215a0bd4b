"""Going round: what a worker and a set of painters have in common, and the loop that they share."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from distill_jobs.execution.stopping import StopRequests


class Station(Protocol):
    """Somebody who takes jobs up and looks after them, a little at each round."""

    def look_after(self) -> None:
        """See to what is under way."""

    def take_up(self) -> None:
        """Begin what can begin."""

    def is_idle(self) -> bool:
        """Whether nothing is left to do, here or anywhere."""

    def stop(self) -> None:
        """Have what is under way put down, and wait for it."""


def go_round(
    stations: Sequence[Station],
    *,
    poll_seconds: float,
    until_idle: bool = False,
    linger_seconds: float = 0.0,
    watch: Callable[[], object] | None = None,
) -> bool:
    """Go from station to station until SIGTERM, or with `until_idle` until all have been idle for `linger_seconds`.

    However it ends, they are stopped. Returns whether it ended because they were idle. `watch` is called after every
    round.
    """
    asked, last_busy = StopRequests(), time.monotonic()
    with asked.listening():
        try:
            while asked.reason is None:
                for station in stations:
                    station.look_after()
                    station.take_up()
                if watch is not None:
                    watch()
                if until_idle and not all(station.is_idle() for station in stations):
                    last_busy = time.monotonic()
                elif until_idle and time.monotonic() - last_busy >= linger_seconds:
                    return True
                time.sleep(poll_seconds)
            return False
        finally:
            for station in stations:
                station.stop()

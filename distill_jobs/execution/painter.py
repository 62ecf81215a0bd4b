"""The painter: one resident process a device that does interactive jobs one after another and keeps what they load.

`python -m distill_jobs.execution.painter`, its commission on standard input; its end means that the worker that started
it is gone, and that what is being painted is to be put down.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from distill_jobs.errors import UnknownJobKind
from distill_jobs.execution.attempt import LOG, attempt, job_folder
from distill_jobs.execution.heartbeat import Heartbeat
from distill_jobs.execution.shelf import Shelf
from distill_jobs.execution.stopping import StopRequests, first_line
from registry import LeaseLost, Registry
from registry.jobs import Lane, Lease, Queue, Wanted

POLL_SECONDS = 0.05
BEATS_PER_LEASE = 3


@dataclass(frozen=True)
class Commission:
    """What a painter has to know: the registry, its own name, the kinds of jobs, and how much it keeps loaded."""

    home: str
    url: str
    actor: str
    name: str
    kinds: Mapping[str, str]
    lease_seconds: float
    grace_seconds: float
    room: int | None

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The commission in a line that `to_json` made."""
        return cls(**json.loads(line))


class Painter:
    """Does jobs of `kinds` from the interactive lane in this process, with a shelf that all of them share.

    A job reports each step, and is told after it whether it is still wanted. A job that fails does no harm to the next.
    """

    def __init__(
        self,
        registry: Registry,
        kinds: Mapping[str, str],
        *,
        name: str,
        lease_seconds: float,
        room: int | None = None,
        lanes: Sequence[str] = (Lane.INTERACTIVE,),
    ) -> None:
        self.shelf = Shelf(room)
        self.stop = StopRequests()
        self._registry, self._queue, self._kinds = registry, Queue(registry), kinds
        self._name, self._lease_seconds, self._lanes = name, lease_seconds, lanes

    def run(self) -> None:
        """Paint until asked to stop; what is being painted then is put down."""
        while self.stop.reason is None:
            if not self.take_one():
                time.sleep(POLL_SECONDS)

    def take_one(self) -> bool:
        """Do the next job; False when there is none. Without work it only reads: it asks many times a second."""
        if not self._queue.has_work(self._lanes):
            return False
        lease = self._queue.claim(self._name, self._lanes, self._lease_seconds)
        if lease is not None:
            self._do(lease)
        return lease is not None

    def _do(self, lease: Lease) -> None:
        function = self._kinds.get(lease.job.kind)
        with suppress(LeaseLost):
            if function is None:
                known = ", ".join(sorted(self._kinds))
                error = UnknownJobKind(f"job {lease.job.id}: kind {lease.job.kind!r}, a painter knows {known}")
                self._queue.fail(lease, str(error), retry=False)
                return
            folder = job_folder(self._registry, lease.job.id)
            folder.mkdir(parents=True, exist_ok=True)
            self._queue.attach_log(lease, str(folder / LOG))
            self._attempt(lease, function, folder)

    def _attempt(self, lease: Lease, function: str, folder: Path) -> None:
        def renew() -> Wanted:
            return self._queue.renew(lease, lease_seconds=self._lease_seconds)

        beating = Heartbeat(renew, self._lease_seconds / BEATS_PER_LEASE)
        with (folder / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log), beating as heartbeat:
            attempt(
                self._registry,
                lease,
                function,
                folder,
                lambda: self.stop.reason or heartbeat.reason,
                shelf=self.shelf,
                seconds_between_writes=0.0,
            )


def main() -> int:
    """Carry out the commission on standard input until SIGTERM, or until the worker is gone."""
    commission = Commission.from_json(first_line())
    with Registry.open(Path(commission.home), commission.url, actor=commission.actor) as registry:
        painter = Painter(
            registry,
            commission.kinds,
            name=commission.name,
            lease_seconds=commission.lease_seconds,
            room=commission.room,
        )
        painter.stop.listen()
        painter.stop.listen_to_worker(commission.grace_seconds)
        painter.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

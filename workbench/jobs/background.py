"""A background worker's process: `python -m workbench.jobs.background LANE`, in the registry that TAU_HOME names."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

from workbench.jobs.workers import ATTACHED, INTERACTIVE, LINGER_SECONDS, Duties, run_worker
from workbench.opening import open_registry


def main(arguments: Sequence[str]) -> None:
    """Run the queued jobs of a lane, then end, a painter after a while; attached, go on until standard input ends."""
    lane, *rest = arguments
    attached = ATTACHED in rest
    if attached:
        threading.Thread(target=_stop_with_starter, daemon=True).start()
    linger = LINGER_SECONDS if lane == INTERACTIVE else 0.0
    with open_registry() as registry:
        run_worker(registry, Duties(lanes=(lane,)), until_idle=not attached, linger_seconds=linger)


def _stop_with_starter() -> None:
    """Whoever started this process holds its standard input open; its end is a request to stop."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1:])

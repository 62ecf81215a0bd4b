"""Telling how far a long piece of work is, and being told to stop."""

from collections.abc import Callable

from arithmetic.errors import Cancelled

Progress = Callable[[str, int, int], None]
"""Called with the phase, what is done, and how much there is."""

Notify = Callable[[int, int], None]
"""Called with what is done and how much there is; raises Cancelled."""


def watcher(
    progress: Progress | None, cancelled: Callable[[], object] | None, unit: str = "modules"
) -> Callable[[str], Notify]:
    """phase -> a callback that reports and stops."""

    def in_phase(phase: str) -> Notify:
        def notify(done: int, total: int) -> None:
            if cancelled is not None and cancelled():
                raise Cancelled(f"{phase}: stopped after {done} of {total} {unit}; nothing was written.")
            if progress is not None:
                progress(phase, done, total)

        return notify

    return in_phase

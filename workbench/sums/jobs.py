"""Compositions through the queue: submit one, and what a worker does with it."""

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from workbench.errors import InvalidSettings
from workbench.jobs.queueing import queue_of
from workbench.naming import require_free
from workbench.recipes.drafts import pinned
from workbench.recipes.resolving import resolve_recipe
from workbench.sums.checking import check_resolved
from workbench.sums.composing import KIND as RESULT_KIND
from workbench.sums.composing import compose, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill_jobs import JobContext
    from registry import Registry
    from registry.jobs import Job

KIND = "compose"
KEYS = ("recipe", "base", "name", "layout", "draft")
"""What a spec says."""


def submit_composition(
    registry: "Registry",
    text: str,
    *,
    name: str | None = None,
    base: str | None = None,
    layout: str = "kohya",
    draft: bool = False,
) -> "Job":
    """Queue what `compose` would write and register, with the versions that the names mean now.

    What can be known to be wrong is refused here, as `compose` would refuse it; the same order again, while it is
    unfinished, is the same job.
    """
    text = pinned(registry, text)
    resolved = resolve_recipe(registry, text, base)
    check_resolved(registry, resolved, layout=layout).verdict.require()
    name = name or name_of(resolved)
    require_free(registry, name, RESULT_KIND)
    told = resolved.base.ref if resolved.base else None
    spec = {"recipe": text, "base": told, "name": name, "layout": layout, "draft": draft}
    key = hashlib.sha256(json.dumps([KIND, spec], sort_keys=True).encode()).hexdigest()
    return queue_of(registry).submit(KIND, spec, idempotency_key=key)


def run_composition(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind compose: write the sum, prove it, register it."""
    from arithmetic import Cancelled
    from distill_jobs.errors import Stopped

    if set(context.spec) != set(KEYS):
        raise InvalidSettings(f"the job's spec has {', '.join(sorted(context.spec))}; expected {', '.join(KEYS)}")
    spec = dict(context.spec)
    try:
        made = compose(
            context.registry,
            spec.pop("recipe"),
            **spec,
            progress=_reporter(context),
            cancelled=context.cancelled,
            lease=context.lease,
        )
    except Cancelled as error:
        raise Stopped(str(error)) from error
    version = made.version
    return {
        "version": version.ref if version else None,
        "worst_relative_error": made.certificate.worst_relative_error,
    }


def _reporter(context: "JobContext") -> "Callable[[str, int, int], None]":
    """Reports each module; writing and proving come one after the other, each over all modules."""
    from distill_jobs import Progress

    began: dict[str, float] = {}

    def report(phase: str, done: int, total: int) -> None:
        since = time.monotonic() - began.setdefault(phase, time.monotonic())
        context.report(Progress(done, total, None, None, since / max(done, 1) * (total - done)))

    return report

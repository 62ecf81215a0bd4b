"""Jobs as a person sees them: submit, wait, read the log, run a worker, start one where none is alive."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import JobUnfinished, NotABase, WaitTimedOut
from workbench.jobs.workers import OnJob, ensure_worker, run_worker
from workbench.naming import require_free

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job, LogPiece, Queue

POLL_SECONDS = 0.5
UNDER_WAY = ("queued", "running")

__all__ = [
    "distillation_spec",
    "ensure_worker",
    "log_pieces",
    "log_text",
    "queue_of",
    "remedy",
    "run_worker",
    "submit_distillation",
    "submit_spec",
    "submit_training",
    "training_spec",
    "wait",
    "why_no_log",
]


def queue_of(registry: "Registry") -> "Queue":
    """The registry's queue."""
    from registry.jobs import Queue

    return Queue(registry)


def submit_distillation(
    registry: "Registry", *, kind: str = "lcd-lora", needs_memory: str | None = None, **order: Any
) -> "Job":
    """Queue a distillation of `base` on the pictures in `data` into `name`: an acceleration vector, or with lcd a base.

    `order` is what `distillation_spec` takes. Everything that can be known to be wrong is refused here; the same order
    again, while it is unfinished, is the same job. Only a machine with `needs_memory`, such as 16G, takes the job; one
    on CUDA devices goes to a worker that has them.
    """
    return submit_spec(registry, kind, distillation_spec(registry, kind=kind, **order), needs_memory)


def submit_training(
    registry: "Registry", *, kind: str = "style", needs_memory: str | None = None, **order: Any
) -> "Job":
    """Queue a training on the pictures in `data` of the style vector `name`, as `submit_distillation` does.

    Of the kind lcf it is a fine-tuning: beside the vector `acceleration`, or of all weights of a distilled base.
    """
    return submit_spec(registry, kind, training_spec(registry, kind=kind, **order), needs_memory)


def distillation_spec(
    registry: "Registry",
    *,
    base: str,
    data: Path | str,
    name: str,
    kind: str = "lcd-lora",
    draft: bool = False,
    reading: Mapping[str, Any] | None = None,
    data_license: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The spec of a distillation job: every default spelled out, the base pinned, the data fingerprinted.

    `data` is what `open_dataset` takes, and `reading` says how it is read (image_column, caption_column, skip_corrupt).
    Raises NotFound, NotABase, Conflict, InvalidName, InvalidSettings, DatasetError.
    """
    said = _OfTheData(str(data), reading or {}, data_license)
    return _spec(registry, kind, base, said, name, draft, settings)


def training_spec(
    registry: "Registry",
    *,
    base: str,
    data: Path | str,
    name: str,
    kind: str = "style",
    acceleration: str | None = None,
    draft: bool = False,
    reading: Mapping[str, Any] | None = None,
    data_license: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The spec of a style training or fine-tuning job, as `distillation_spec`. Raises NotAVector as well."""
    said = _OfTheData(str(data), reading or {}, data_license)
    return _spec(registry, kind, base, said, name, draft, settings, acceleration)


def wait(
    registry: "Registry",
    job: "Job",
    on_progress: OnJob | None = None,
    *,
    timeout: float | None = None,
    poll_seconds: float = POLL_SECONDS,
) -> "Job":
    """The job once it has succeeded. Interrupting the waiting leaves the job alone.

    Raises WaitTimedOut after `timeout` seconds, JobUnfinished when the job ended otherwise or was paused.
    """
    queue, began = queue_of(registry), time.monotonic()
    while (seen := queue.get(job.id)).state in UNDER_WAY:
        if on_progress is not None:
            on_progress(seen)
        if timeout is not None and time.monotonic() - began > timeout:
            raise WaitTimedOut(
                f"job {job.id} is {seen.state} after {timeout:g} s and goes on; follow it: tau jobs logs -f {job.id}"
            )
        time.sleep(poll_seconds)
    if on_progress is not None:
        on_progress(seen)
    if seen.state != "succeeded":
        raise JobUnfinished(_ending(seen))
    return seen


def log_text(
    registry: "Registry", job: int, *, offset: int = 0, follow: bool = False, poll_seconds: float = POLL_SECONDS
) -> Iterator[str]:
    """What the job's process has written from byte `offset` on, in pieces; with `follow` until it is not under way."""
    for piece in log_pieces(registry, job, offset=offset, follow=follow, poll_seconds=poll_seconds):
        yield piece.text


def log_pieces(
    registry: "Registry", job: int, *, offset: int = 0, follow: bool = False, poll_seconds: float = POLL_SECONDS
) -> Iterator["LogPiece"]:
    """`log_text`, each piece with the byte at which the next one begins."""
    queue = queue_of(registry)
    while True:
        is_under_way = queue.get(job).state in UNDER_WAY
        piece = queue.log(job, offset)
        if piece.text:
            offset = piece.next_offset
            yield piece
        elif not follow or not is_under_way:
            return
        else:
            time.sleep(poll_seconds)


def why_no_log(job: "Job") -> str:
    """What to say where a job's log shows nothing."""
    if job.log_path and not Path(job.log_path).exists():
        return f"the log of job {job.id} is not on this machine; read {job.log_path} where its worker ran"
    return f"job {job.id} is {job.state} and has written nothing more"


def remedy(job: "Job") -> str | None:
    """What to do about a job that ended otherwise than well, or was put aside."""
    remedies = {
        "failed": f"mend the cause and try again: tau jobs retry {job.id}",
        "dead": f"mend the cause and try again: tau jobs retry {job.id}",
        "cancelled": f"take it up again: tau jobs retry {job.id}",
        "paused": f"let it go on: tau jobs resume {job.id}",
    }
    return remedies.get(job.state)


def submit_spec(registry: "Registry", kind: str, spec: Mapping[str, Any], needs_memory: str | None = None) -> "Job":
    """Queue what `distillation_spec` or `training_spec` made; unfinished, the same spec is the same job."""
    from workbench.sums.resources import bytes_of

    key = hashlib.sha256(json.dumps([kind, spec], sort_keys=True).encode()).hexdigest()
    return queue_of(registry).submit(
        kind,
        spec,
        idempotency_key=key,
        needs_gpu=spec["processes"] if spec["device"].startswith("cuda") else 0,
        needs_memory=bytes_of(needs_memory) if needs_memory else 0,
    )


@dataclass(frozen=True)
class _OfTheData:
    """What an order says of its data: where it lies, how it is read, the licence that it is under."""

    text: str
    reading: Mapping[str, Any]
    license: str | None


def _spec(
    registry: "Registry",
    kind: str,
    base: str,
    said: _OfTheData,
    name: str,
    draft: bool,
    settings: dict[str, Any],
    acceleration: str | None = None,
) -> dict[str, Any]:
    from workbench.training.jobs import open_acceleration
    from workbench.training.orders import RESULT_KINDS, Order, form_of, settings_of

    version = registry.get(base)
    if version.kind != "base":
        raise NotABase(f"{base}: {version.ref} is of kind {version.kind}; name a base: tau ls --kind base")
    form = form_of(kind, acceleration)
    require_free(registry, name, RESULT_KINDS[form])
    checked = settings_of(form, settings).model_dump(mode="json")
    pinned = None if acceleration is None else open_acceleration(registry, acceleration, version.ref).name
    located, fingerprint = _fingerprinted(said)
    order = Order(version.ref, located, fingerprint, name, draft, checked, said.reading, said.license, pinned)
    return order.spec()


def _fingerprinted(said: _OfTheData) -> tuple[str, str]:
    """Where a job finds the data, and the fingerprint of what is read there now."""
    from distill_jobs import read_dataset
    from workbench.training.datasets import locate, reading_of

    reading, located = reading_of(said.reading), locate(said.text)
    return located.pinned, read_dataset(located.where, reading).fingerprint


def _ending(job: "Job") -> str:
    why = f": {job.last_error}" if job.last_error else ""
    return f"job {job.id} is {job.state}{why}; {remedy(job)}; its log: tau jobs logs {job.id}"

"""Pictures through the queue: submit a preview to the painters, wait for it, and what a painter does with it."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from workbench.errors import InvalidSettings
from workbench.jobs.queueing import queue_of
from workbench.jobs.workers import OnJob
from workbench.painting.init_pictures import keep_init
from workbench.painting.painter_jobs import awaited, bases_opened, painter_of, steps_reported
from workbench.painting.previewing import preview, require_fitting
from workbench.painting.profiles import Sampling, SamplingWords, chosen_sampling
from workbench.recipes.references import is_path
from workbench.recipes.resolving import resolve_recipe

if TYPE_CHECKING:
    from arithmetic import Finding
    from distill_jobs import JobContext
    from registry import Registry
    from registry.jobs import Job

KIND = "preview"
KEYS = ("recipe", "base", "prompts", "seeds", "solver", "steps", "guidance", "spacing", "eta")
"""What every spec says."""

MORE_KEYS = ("width", "height", "negative", "init", "init_strength", "original_inference_steps", "timesteps")
"""What a spec may say beside them."""

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class QueuedPreview:
    """Pictures that a painter made; `path` is the picture, or the contact sheet of several."""

    job: int
    path: Path
    paths: tuple[Path, ...]
    records: tuple[Mapping[str, Any], ...]
    evaluations: int
    seconds: float
    findings: "tuple[Finding, ...]"
    unfinished_hint: str | None
    painter: Mapping[str, Any]
    """The painter's process (pid), and how many bases it has loaded since it began (loads)."""


def submit_preview(
    registry: "Registry",
    text: str,
    prompts: Sequence[str],
    *,
    base: str | None = None,
    sampling: Sampling | None = None,
    seeds: Sequence[int] = (0,),
    priority: int = 0,
    **said: Unpack[SamplingWords],
) -> "Job":
    """Queue a preview for the painters. What can be known to be wrong is refused here, as `preview` would refuse it."""
    resolved = resolve_recipe(registry, text, base)
    chosen = keep_init(registry, chosen_sampling(registry, resolved, sampling, **said))
    require_fitting(resolved)
    spec = {
        "recipe": str(resolved.recipe.lock(_absolute)),
        "base": base,
        "prompts": list(prompts),
        "seeds": list(seeds),
        **chosen.said,
    }
    return queue_of(registry).submit(KIND, spec, lane="interactive", priority=priority)


def queued_preview(
    registry: "Registry",
    text: str,
    prompts: Sequence[str],
    *,
    out: Path | None = None,
    on_job: OnJob | None = None,
    timeout: float | None = None,
    **settings: Any,
) -> QueuedPreview:
    """Have a painter make what `preview` would make, and wait for it; whoever stops waiting cancels it.

    `out` is the file of one picture, or the folder of several, which are copied there. `settings` are those of
    `submit_preview`. Raises what it raises, WaitTimedOut, JobUnfinished.
    """
    job = submit_preview(registry, text, prompts, **settings)
    done = awaited(registry, job, on_job, timeout=timeout, poll_seconds=POLL_SECONDS)
    return _collected(registry, done, out)


def paint_preview(context: "JobContext") -> dict[str, Any]:
    """Run a job of the kind preview: paint, keep the pictures; the base stays loaded for the next one."""
    if not set(KEYS) <= set(context.spec) <= {*KEYS, *MORE_KEYS}:
        raise InvalidSettings(
            f"the job's spec has {', '.join(sorted(context.spec))}; expected {', '.join(KEYS)}, and beside them "
            f"at most {', '.join(MORE_KEYS)}"
        )
    sampling = Sampling.of_record(context.spec)
    pictures = len(context.spec["prompts"]) * len(context.spec["seeds"])
    with bases_opened(context, [sampling], pictures) as open_base:
        painted = preview(
            context.registry,
            context.spec["recipe"],
            context.spec["prompts"],
            base=context.spec["base"],
            sampling=sampling,
            seeds=context.spec["seeds"],
            on_step=steps_reported(context),
            cancelled=context.cancelled,
            open_base=open_base,
            lease=context.lease,
        )
    return {
        "path": str(painted.path),
        "pictures": [
            {"path": str(path), "sha256": sha256, "record": dict(record)}
            for path, sha256, record in zip(painted.paths, painted.digests, painted.records, strict=True)
        ],
        "evaluations": painted.evaluations,
        "seconds": painted.seconds,
        "findings": [_finding(finding) for finding in painted.findings],
        "unfinished_hint": painted.unfinished_hint,
        "painter": painter_of(context),
    }


def _absolute(reference: str) -> str:
    """A reference that means the same in another process's working directory."""
    return str(Path(reference).expanduser().resolve()) if is_path(reference) else reference


def _finding(finding: Any) -> dict[str, Any]:
    return {key: getattr(finding, key) for key in ("code", "severity", "sentence", "remedy")}


def _collected(registry: "Registry", job: "Job", out: Path | None) -> QueuedPreview:
    from arithmetic import Finding

    result = job.result or {}
    made, shown = [Path(one["path"]) for one in result["pictures"]], Path(result["path"])
    if out is not None:
        kept = [registry.blob_path(one["sha256"]) for one in result["pictures"]]
        made, shown = _copied(kept, made, shown, out)
    return QueuedPreview(
        job.id,
        shown,
        tuple(made),
        tuple(one["record"] for one in result["pictures"]),
        result["evaluations"],
        result["seconds"],
        tuple(Finding(**one) for one in result["findings"]),
        result["unfinished_hint"],
        result["painter"],
    )


def _copied(kept: Sequence[Path], made: Sequence[Path], shown: Path, out: Path) -> tuple[list[Path], Path]:
    """The pictures, as the registry keeps them, copied to `out`; also their contact sheet, where the painter's is."""
    if len(kept) == 1:
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept[0], out)
        return [out], out
    out.mkdir(parents=True, exist_ok=True)
    for blob, path in zip(kept, made, strict=True):
        shutil.copyfile(blob, out / path.name)
    if shown.exists():
        shutil.copyfile(shown, out / shown.name)
    return [out / path.name for path in made], out / shown.name if shown.exists() else out

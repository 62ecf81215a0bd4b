"""Paint pictures: preview."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, Json, Quiet, Recipe
from ui.cli.picture_options import (
    PAINTERS_OWN,
    Eta,
    Guidance,
    Height,
    Init,
    InitStrength,
    Negative,
    OriginalInferenceSteps,
    PaintingDevice,
    Queued,
    Solver,
    Spacing,
    Steps,
    Timeout,
    Timesteps,
    Width,
    numbers,
)
from ui.cli.progress import Count, counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.painting.jobs import QueuedPreview
    from workbench.painting.previewing import Preview

Prompts = Annotated[list[str], typer.Option("--prompt", "-p", help="What to paint; may be repeated.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", min=0, help="One picture each; may be repeated. Default 0.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(cls=RecipeCommand)(preview)


def preview(
    context: typer.Context,
    recipe: Recipe,
    prompt: Prompts,
    base: Base = None,
    steps: Steps = None,
    solver: Solver = None,
    guidance: Guidance = None,
    spacing: Spacing = None,
    eta: Eta = None,
    width: Width = None,
    height: Height = None,
    negative: Negative = None,
    init: Init = None,
    init_strength: InitStrength = None,
    original_inference_steps: OriginalInferenceSteps = None,
    timesteps: Timesteps = None,
    seed: Seeds = None,
    device: PaintingDevice = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture, or the folder of several.")] = None,
    queue: Queued = False,
    timeout: Timeout = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Paint what a recipe makes of prompts. Each picture carries its recipe, hashes and settings."""
    settings = {
        "base": base,
        "solver": solver,
        "steps": steps,
        "guidance": guidance,
        "spacing": spacing,
        "eta": eta,
        "width": width,
        "height": height,
        "negative": negative,
        "init": init,
        "init_strength": init_strength,
        "original_inference_steps": original_inference_steps,
        "timesteps": numbers(timesteps),
        "seeds": tuple(seed or (0,)),
        "out": out,
    }
    if queue and device is not None:
        raise typer.BadParameter(PAINTERS_OWN)
    with registry_of(context) as registry, counting("painting", "steps") as progress:
        painted = (
            _queued(registry, recipe, prompt, settings, timeout, progress)
            if queue
            else _painted(registry, recipe, prompt, settings, device, progress)
        )
    if json:
        output.document(
            "preview",
            {
                "path": str(painted.path),
                "pictures": [
                    {"path": str(path), "record": plain(record)}
                    for path, record in zip(painted.paths, painted.records, strict=True)
                ],
                "evaluations": painted.evaluations,
                "seconds": painted.seconds,
                "findings": plain(painted.findings),
            },
        )
    elif quiet:
        output.lines(painted.paths)
    else:
        output.lines([painted.path])
        how = "{solver}, steps {steps}, guidance {guidance:g}".format(**painted.records[0])
        cost = f"{painted.evaluations} evaluations each, {painted.seconds:.1f} s"
        output.hint(f"{len(painted.paths)} painted with {how}: {cost}")
    for finding in painted.findings:
        if finding.severity != "note":
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())
    if painted.unfinished_hint:
        output.hint(painted.unfinished_hint)


def _painted(
    registry: "Registry",
    recipe: str,
    prompts: list[str],
    settings: dict[str, Any],
    device: str | None,
    progress: Count,
) -> "Preview":
    from workbench.painting.plans import plan_painting
    from workbench.painting.previewing import preview

    how = {key: value for key, value in settings.items() if key not in ("seeds", "out")}
    count = len(prompts) * len(settings["seeds"])
    output.hint(plan_painting(registry, recipe, pictures=count, device=device, **how).sentence)
    return preview(registry, recipe, prompts, **settings, device=device, on_step=progress, cancelled=asked_to_stop)


def _queued(
    registry: "Registry",
    recipe: str,
    prompts: list[str],
    settings: dict[str, Any],
    timeout: float | None,
    progress: Count,
) -> "QueuedPreview":
    from workbench.jobs.workers import INTERACTIVE, is_worker_alive
    from workbench.painting.jobs import queued_preview

    if not is_worker_alive(registry.home, INTERACTIVE):
        output.hint("no painter runs on this machine; start one: tau worker --lanes interactive")

    def show(job: "Job") -> None:
        if job.progress.get("steps"):
            progress(job.progress["step"], job.progress["steps"])

    return queued_preview(registry, recipe, prompts, **settings, on_job=show, timeout=timeout)

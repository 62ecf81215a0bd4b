"""Paint pictures: preview."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, Json, Quiet, Recipe
from ui.cli.progress import Count, counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.picture_jobs import QueuedPreview
    from workbench.previewing import Preview

Prompts = Annotated[list[str], typer.Option("--prompt", "-p", help="What to paint; may be repeated.")]
Seeds = Annotated[list[int] | None, typer.Option("--seed", min=0, help="One picture each; may be repeated. Default 0.")]


OF_THE_VECTORS = "Default: what the vectors were made for."


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(cls=RecipeCommand)(preview)


def preview(
    context: typer.Context,
    recipe: Recipe,
    prompt: Prompts,
    base: Base = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help=f"Denoising steps. {OF_THE_VECTORS}")] = None,
    solver: Annotated[
        str | None, typer.Option("--solver", help=f"lcm, tcd, ddim, dpm, dpm++, euler or unipc. {OF_THE_VECTORS}")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help=f"1 is none, and costs half. {OF_THE_VECTORS}")
    ] = None,
    spacing: Annotated[
        str | None, typer.Option("--spacing", help="Of the timesteps: trailing, leading or linspace.")
    ] = None,
    eta: Annotated[float | None, typer.Option("--eta", help="Fresh noise of ddim and tcd, 0 to 1.")] = None,
    width: Annotated[int | None, typer.Option("--width", min=1, help="In pixels. Default: the base's own.")] = None,
    height: Annotated[int | None, typer.Option("--height", min=1, help="In pixels. Default: the base's own.")] = None,
    negative: Annotated[
        str | None, typer.Option("--negative", "-n", help="What to lead away from, with guidance above 1.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="A picture to begin with; its size is painted unless one is said.")
    ] = None,
    init_strength: Annotated[
        float | None, typer.Option("--init-strength", help="How much of it is painted over, to 1. Default 0.8.")
    ] = None,
    original_inference_steps: Annotated[
        int | None,
        typer.Option("--original-inference-steps", min=1, help="Timesteps that lcm and tcd take theirs from."),
    ] = None,
    timesteps: Annotated[
        str | None, typer.Option("--timesteps", help="Exactly these, from noise to picture: 999,749,499,249.")
    ] = None,
    seed: Seeds = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cuda, cuda:1, mps or cpu. Default: TAU_DEVICE, else auto.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The picture, or the folder of several.")] = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Have a painter do it (tau worker --lanes interactive), and wait.")
    ] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="With --queue: seconds to wait.")] = None,
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
        "timesteps": _numbers(timesteps),
        "seeds": tuple(seed or (0,)),
        "out": out,
    }
    if queue and device is not None:
        raise typer.BadParameter("--device is for painting here; painters have theirs (tau worker --devices)")
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


def _numbers(listed: str | None) -> tuple[int, ...] | None:
    if listed is None:
        return None
    try:
        return tuple(int(one) for one in listed.split(","))
    except ValueError:
        raise typer.BadParameter(f"--timesteps {listed}: expected whole numbers, such as 999,749,499,249") from None


def _painted(
    registry: "Registry",
    recipe: str,
    prompts: list[str],
    settings: dict[str, Any],
    device: str | None,
    progress: Count,
) -> "Preview":
    from workbench.painting_plans import plan_painting
    from workbench.previewing import preview

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
    from workbench.picture_jobs import queued_preview
    from workbench.workers import INTERACTIVE, is_worker_alive

    if not is_worker_alive(registry.home, INTERACTIVE):
        output.hint("no painter runs on this machine; start one: tau worker --lanes interactive")

    def show(job: "Job") -> None:
        if job.progress.get("steps"):
            progress(job.progress["step"], job.progress["steps"])

    return queued_preview(registry, recipe, prompts, **settings, on_job=show, timeout=timeout)

"""Pictures over two axes: grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, DryRun, Json, Quiet, recipe_text
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
    from workbench.grids.planning import GridPlan

AXIS = (
    "papercut=0:1.2:5 (a strength, FROM:TO:COUNT), papercut{unet.down}=0,1 (a factor of its scope), or steps, solver, "
    "guidance, seed, prompt or recipe with values and commas"
)


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(cls=RecipeCommand)(grid)


def grid(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(help="As for preview; leave it out where an axis has recipes.", callback=recipe_text)
    ] = "",
    x: Annotated[str, typer.Option("--x", help=f"Across: {AXIS}.")] = "",
    y: Annotated[str | None, typer.Option("--y", help="Down: the same.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", "-p", help="A panel each, unless an axis has prompts.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="A panel each, unless an axis has seeds. Default 0.")
    ] = None,
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
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Measure each picture: sharpness, agreement, the base's judge.")
    ] = False,
    clip: Annotated[
        Path | None, typer.Option("--clip", help="A folder with a CLIP model: measure the CLIP score with it as well.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A .png, .html, .csv or .json file, or a folder for all four."),
    ] = None,
    device: PaintingDevice = None,
    queue: Queued = False,
    timeout: Timeout = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Paint a recipe over two axes. Cells that were painted before are not painted again."""
    said = {
        "steps": steps,
        "solver": solver,
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
    }
    if queue and device is not None:
        raise typer.BadParameter(PAINTERS_OWN)
    with registry_of(context) as registry:
        plan = _plan(registry, recipe, x, y, prompts=prompt or (), base=base, seeds=tuple(seed or (0,)), **said)
        _warn(registry, plan)
        if dry_run:
            _show(registry, plan, (), json=json, quiet=quiet)
            return
        with counting("painting", "steps") as progress:
            measured = metrics or clip is not None
            if queue:
                _queue(registry, plan, measured, clip, timeout, progress)
            else:
                _paint(registry, plan, measured, clip, device, progress)
        _show(registry, plan, _written(registry, plan, out), json=json, quiet=quiet)


def _plan(registry: "Registry", recipe: str, x: str, y: str | None, **given: Any) -> "GridPlan":
    from workbench.grids.axes import Axis
    from workbench.grids.planning import plan_grid

    if not x:
        raise typer.BadParameter("a grid needs an axis: --x papercut=0:1.2:5", param_hint="--x")
    return plan_grid(registry, recipe, x=Axis.parse(x), y=Axis.parse(y) if y else None, **given)


def _warn(registry: "Registry", plan: "GridPlan") -> None:
    from workbench.grids.planning import grid_findings

    for finding in grid_findings(registry, plan):
        if finding.severity != "note":
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())


def _paint(
    registry: "Registry", plan: "GridPlan", measured: bool, clip: Path | None, device: str | None, progress: Count
) -> None:
    from workbench.grids.metrics import measure_cells
    from workbench.grids.painting import paint_cells, plan_cells

    if (foreseen := plan_cells(registry, plan.cells, device=device)) is not None:
        output.hint(foreseen.sentence)
    done = paint_cells(registry, plan.cells, device=device, on_step=progress, cancelled=asked_to_stop)
    output.hint(f"{done.painted} of {done.cells} cells painted now, {done.seconds:.1f} s")
    if measured:
        measure_cells(registry, plan.cells, clip=clip, device=device, on_step=progress, cancelled=asked_to_stop)


def _queue(
    registry: "Registry",
    plan: "GridPlan",
    measured: bool,
    clip: Path | None,
    timeout: float | None,
    progress: Count,
) -> None:
    from workbench.grids.jobs import queued_grid
    from workbench.jobs.workers import INTERACTIVE, is_worker_alive

    if not is_worker_alive(registry.home, INTERACTIVE):
        output.hint("no painter runs on this machine; start one: tau worker --lanes interactive")

    def show(job: "Job") -> None:
        if job.progress.get("steps"):
            progress(job.progress["step"], job.progress["steps"])

    queued_grid(registry, plan, metrics=measured, clip=clip, on_job=show, timeout=timeout)


def _written(registry: "Registry", plan: "GridPlan", out: Path | None) -> tuple[Path, ...]:
    from workbench.grids.files import grid_place, write_grid

    return write_grid(registry, plan, out or grid_place(registry, plan))


def _show(registry: "Registry", plan: "GridPlan", paths: tuple[Path, ...], *, json: bool, quiet: bool) -> None:
    from workbench.grids.files import grid_rows

    rows = grid_rows(registry, plan)
    if json:
        output.document("grid", {"paths": [str(path) for path in paths], "cells": rows})
    elif quiet or paths:
        output.lines(paths or [row["key"] for row in rows])
    else:
        output.rows(
            ("panel", "y", "x", "recipe", "painted"),
            [(row["panel"], row["y"], row["x"], row["recipe"], "yes" if row["picture"] else "no") for row in rows],
        )

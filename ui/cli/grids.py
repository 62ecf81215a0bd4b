"""Pictures over two axes: grid."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ui.cli import output
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Base, DryRun, Json, Quiet, recipe_text
from ui.cli.progress import Count, counting
from ui.cli.recipe_command import RecipeCommand
from ui.cli.session import registry_of

if TYPE_CHECKING:
    from registry import Registry
    from registry.jobs import Job
    from workbench.grids import GridPlan

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
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps.")] = None,
    solver: Annotated[str | None, typer.Option("--solver", help="As for preview, and so are all of these.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", help="1 is none, and costs half.")] = None,
    spacing: Annotated[str | None, typer.Option("--spacing", help="trailing, leading or linspace.")] = None,
    eta: Annotated[float | None, typer.Option("--eta", help="Fresh noise of ddim and tcd, 0 to 1.")] = None,
    width: Annotated[int | None, typer.Option("--width", min=1, help="In pixels.")] = None,
    height: Annotated[int | None, typer.Option("--height", min=1, help="In pixels.")] = None,
    negative: Annotated[str | None, typer.Option("--negative", "-n", help="What guidance leads away from.")] = None,
    init: Annotated[Path | None, typer.Option("--init", help="A picture to begin with.")] = None,
    init_strength: Annotated[
        float | None, typer.Option("--init-strength", help="How much of it is painted over, to 1.")
    ] = None,
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
    queue: Annotated[
        bool, typer.Option("--queue", help="Have a painter do it (tau worker --lanes interactive), and wait.")
    ] = False,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="With --queue: seconds to wait.")] = None,
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
    }
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
                _paint(registry, plan, measured, clip, progress)
        _show(registry, plan, _written(registry, plan, out), json=json, quiet=quiet)


def _plan(registry: "Registry", recipe: str, x: str, y: str | None, **given: Any) -> "GridPlan":
    from workbench.axes import Axis
    from workbench.grids import plan_grid

    if not x:
        raise typer.BadParameter("a grid needs an axis: --x papercut=0:1.2:5", param_hint="--x")
    return plan_grid(registry, recipe, x=Axis.parse(x), y=Axis.parse(y) if y else None, **given)


def _warn(registry: "Registry", plan: "GridPlan") -> None:
    from workbench.grids import grid_findings

    for finding in grid_findings(registry, plan):
        if finding.severity != "note":
            output.hint(f"{finding.severity}: {finding.sentence} {finding.remedy}".rstrip())


def _paint(registry: "Registry", plan: "GridPlan", measured: bool, clip: Path | None, progress: Count) -> None:
    from workbench.cell_metrics import measure_cells
    from workbench.cell_painting import paint_cells

    done = paint_cells(registry, plan.cells, on_step=progress, cancelled=asked_to_stop)
    output.hint(f"{done.painted} of {done.cells} cells painted now, {done.seconds:.1f} s")
    if measured:
        measure_cells(registry, plan.cells, clip=clip, on_step=progress, cancelled=asked_to_stop)


def _queue(
    registry: "Registry",
    plan: "GridPlan",
    measured: bool,
    clip: Path | None,
    timeout: float | None,
    progress: Count,
) -> None:
    from workbench.grid_jobs import queued_grid
    from workbench.workers import INTERACTIVE, is_worker_alive

    if not is_worker_alive(registry.home, INTERACTIVE):
        output.hint("no painter runs on this machine; start one: tau worker --lanes interactive")

    def show(job: "Job") -> None:
        if job.progress.get("steps"):
            progress(job.progress["step"], job.progress["steps"])

    queued_grid(registry, plan, metrics=measured, clip=clip, on_job=show, timeout=timeout)


def _written(registry: "Registry", plan: "GridPlan", out: Path | None) -> tuple[Path, ...]:
    from workbench.grid_files import grid_place, write_grid

    return write_grid(registry, plan, out or grid_place(registry, plan))


def _show(registry: "Registry", plan: "GridPlan", paths: tuple[Path, ...], *, json: bool, quiet: bool) -> None:
    from workbench.grid_files import grid_rows

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

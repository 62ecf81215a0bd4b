"""What a picture says of itself: recall."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ui.cli import output
from ui.cli.interruption import asked_to_stop
from ui.cli.options import Json, Quiet
from ui.cli.progress import counting
from ui.cli.session import registry_of
from workbench.outcomes import Outcome

SHOWN = ("recipe", "prompt", "negative", "seed", "solver", "steps", "guidance", "spacing", "eta", "width", "height")
ALSO_SHOWN = ("init", "init_strength", "original_inference_steps", "timesteps")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(recall)


def recall(
    context: typer.Context,
    picture: Annotated[Path, typer.Argument(help="A PNG that Tauworks painted: a picture, or a grid.")],
    again: Annotated[
        bool, typer.Option("--again", help="Paint it anew, and say whether every pixel is the same (exit 1 if not).")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="With --again: where to write the new one.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """The recipe, base, prompt, seed, settings and hashes inside a picture. Needs no registry, but for --again."""
    from workbench.painting.recalling import recall

    if out is not None and not again:
        raise typer.BadParameter("--out is for what --again paints; add --again")
    record = recall(picture)
    if again:
        _paint_again(context, picture, out, json=json, quiet=quiet)
    elif json:
        output.document("picture", {"record": record})
    elif quiet:
        output.lines([_shortest(record)])
    else:
        output.fields(_grid_fields(record["grid"]) if "grid" in record else _fields(record))


def _paint_again(context: typer.Context, picture: Path, out: Path | None, *, json: bool, quiet: bool) -> None:
    from workbench.painting.recalling import repaint, write_repainted

    with registry_of(context) as registry, counting("painting", "steps") as progress:
        found = repaint(registry, picture, on_step=progress, cancelled=asked_to_stop)
    if out is not None:
        write_repainted(found, out)
    if json:
        said = {"equal": found.is_equal, "pixels": found.pixels, "largest": found.largest, "notes": list(found.notes)}
        output.document("repainted", {"path": str(out) if out else None, **said})
    elif quiet:
        output.lines([out] if out else [])
    else:
        output.lines(["every pixel is the same" if found.is_equal else "it is another picture now"])
        if not found.is_equal:
            output.hint(f"{found.pixels} pixels differ, by {found.largest} of 255 at most")
    for note in found.notes:
        output.hint(note)
    if not found.is_equal:
        raise typer.Exit(Outcome.FAILURE)


def _shortest(record: Mapping[str, Any]) -> str:
    if "grid" in record:
        return str(record["grid"]["text"])
    return str(record["locked"] if "locked" in record else record["prompt"])


def _fields(record: Mapping[str, Any]) -> dict[str, object]:
    base, inputs = record.get("base") or {}, record.get("inputs") or []
    return {
        **{key: record.get(key) for key in (*SHOWN, *ALSO_SHOWN)},
        "base": " ".join(str(base[key]) for key in ("name", "sha256") if key in base),
        **{f"input {i + 1}": f"{x['weight']:g} * {x['name']} sha256:{x['sha256']}" for i, x in enumerate(inputs)},
        "software": output.words(record.get("versions")),
    }


def _grid_fields(grid: Mapping[str, Any]) -> dict[str, object]:
    return {
        "recipe": grid["text"],
        "x": grid["x"],
        "y": grid["y"],
        "prompts": ", ".join(dict.fromkeys(cell["prompt"] for cell in grid["cells"])),
        "seeds": ", ".join(dict.fromkeys(str(cell["seed"]) for cell in grid["cells"])),
        "base": ", ".join(dict.fromkeys(f"{cell['base']} {cell['base_digest']}" for cell in grid["cells"])),
        "cells": len(grid["cells"]),
    }

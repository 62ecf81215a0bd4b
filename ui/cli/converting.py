"""Commands on one vector: convert."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.options import Json, Layout, Quiet
from ui.cli.session import registry_if_any

if TYPE_CHECKING:
    from workbench.sums.converting import Converted


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(convert)


def convert(
    context: typer.Context,
    vector: Annotated[str, typer.Argument(help="A path, or a version: name, name:3, name@alias or sha256:...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file; for peft a folder that does not exist yet.")],
    format: Layout = "kohya",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a vector in another layout's keys, losslessly: every factor to the bit, every alpha as it is.

    A path needs no registry. LoHa, LoKr, DoRA and other kinds stay what they are, where the layout has keys for them.
    """
    from workbench.sums.converting import convert

    with registry_if_any(context) as registry:
        converted = convert(registry, vector, out, layout=format)
    _print_converted(converted, json=json, quiet=quiet)


def _print_converted(converted: "Converted", *, json: bool, quiet: bool) -> None:
    if json:
        output.document("conversion", plain(converted))
    elif quiet:
        output.lines([converted.path])
    else:
        output.fields(
            {
                "vector": converted.source,
                "written": converted.path,
                "layout": f"{converted.layout_before} -> {converted.layout}",
                "modules": f"{converted.modules} ({', '.join(converted.kinds)})",
                "layout hash": converted.layout_hash,
            }
            | {name: f"sha256:{digest}" for name, digest in converted.files.items()}
        )

"""The command that looks at data sets: data check."""

from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.options import CaptionColumn, ImageColumn, Json, Quiet, SkipCorrupt
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from workbench.training.datasets import DatasetReport

data = typer.Typer(no_args_is_help=True, help="Pictures with captions, to train on.")


@data.callback()
def root() -> None:
    """Pictures with captions, to train on."""


@data.command("check")
def check(
    path: Annotated[
        str,
        typer.Argument(help="What --data takes: a folder, .parquet files, .tar shards, or hf://datasets/OWNER/NAME."),
    ],
    image_column: ImageColumn = None,
    caption_column: CaptionColumn = None,
    skip_corrupt: SkipCorrupt = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read every picture and caption, count them, name all that are corrupt; exit 4 when it cannot be trained on."""
    from workbench.training.datasets import check_dataset, reading_of

    reading = {"image_column": image_column, "caption_column": caption_column, "skip_corrupt": skip_corrupt}
    report = check_dataset(path, reading_of(reading))
    if json:
        output.document("dataset", plain(report))
    elif quiet:
        output.lines([report.fingerprint] if report.fingerprint else [])
    else:
        _print(report)
    if not report.ok:
        remedy = "or leave them out: --skip-corrupt" if report.pictures else "no other is there"
        output.problem(f"{len(report.corrupt)} pictures are corrupt; replace or remove them, {remedy}")
        raise typer.Exit(Outcome.REFUSED)


def _print(report: "DatasetReport") -> None:
    sizes = {name: " x ".join(map(str, report.sizes[name])) for name in ("smallest", "largest") if name in report.sizes}
    output.fields(
        {
            "data": report.uri,
            "kind": report.kind,
            "revision": report.revision,
            "license": report.license,
            "pictures": report.pictures,
            "corrupt": len(report.corrupt),
            "captions": output.words(report.captions),
            "sizes": output.words({"distinct": report.sizes["distinct"], **sizes}),
            "fingerprint": report.fingerprint,
        }
    )
    output.lines(report.corrupt)

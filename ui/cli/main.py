"""The command `tau`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ui.cli import (
    baking,
    catalog,
    changing,
    composing,
    converting,
    database,
    datasets,
    finding,
    giving,
    grids,
    intake,
    interfering,
    jobs,
    keeping,
    linking,
    pages,
    painting,
    past,
    recalling,
    training,
)
from ui.cli.failures import Commands
from ui.cli.session import Place
from workbench.outcomes import Outcome

app = typer.Typer(
    name="tau",
    cls=Commands,
    help="A model registry and adapter-arithmetic workbench for image-diffusion models.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(version("tauworks"))
        except PackageNotFoundError:
            print("0 (not installed)")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", help="The registry's folder; default: TAU_HOME, or the user's data folder.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option("--database-url", help="The registry's database; default: TAU_DATABASE_URL.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Catalog models, compose vectors exactly, distil acceleration vectors, and see what they paint.

    stdout is data; progress and hints go to stderr. Exit codes: 0 ok, 1 failure, 2 usage, 3 not found, 4 refused,
    5 conflict, 6 not allowed, 124 timed out, 130 interrupted.
    """
    context.obj = Place(home, database_url)


app.command()(pages.demo)
app.command()(database.init)
app.add_typer(database.db, name="db")
intake.register(app)
catalog.register(app)
finding.register(app)
changing.register(app)
linking.register(app)
keeping.register(app)
past.register(app)
composing.register(app)
baking.register(app)
interfering.register(app)
converting.register(app)
painting.register(app)
grids.register(app)
recalling.register(app)
giving.register(app)
app.add_typer(datasets.data, name="data")
app.add_typer(training.distill, name="distill")
app.add_typer(training.train, name="train")
app.add_typer(jobs.jobs, name="jobs")
app.command()(jobs.worker)
app.command()(pages.ui)


def main() -> None:
    """Run the command line; the process ends with the command's exit code."""
    try:
        app(prog_name="tau")
    except KeyboardInterrupt:
        sys.exit(Outcome.INTERRUPTED)


if __name__ == "__main__":
    main()

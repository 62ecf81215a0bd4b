"""The command that says where a version came from, and takes it back: link."""

from typing import Annotated

import typer

from ui.cli import output
from ui.cli.catalog import print_versions
from ui.cli.options import DryRun, Json, Quiet
from ui.cli.session import registry_of

Child = Annotated[str, typer.Argument(help="The version that came from another one.")]
Of = Annotated[str, typer.Argument(help="What it came from: a version, dataset:NAME or external:TEXT.")]
By = Annotated[
    str,
    typer.Option("--relation", help="adapter_of: a vector and its base; also trained_on, resized_from and so on."),
]
Weight = Annotated[float | None, typer.Option("--weight", help="How much of it went in.")]
Remove = Annotated[bool, typer.Option("--remove", help="Take it back: only what adapter_of says can be.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(link)


def link(
    context: typer.Context,
    child: Child,
    parent: Of,
    relation: By = "adapter_of",
    weight: Weight = None,
    remove: Remove = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say to which base a vector belongs, or what else a version came from; history keeps it.

    What compositions and jobs wrote stays as it is. Where licences conflict by what is said, that is shown.
    """
    from registry.links import connect, disconnect
    from registry.values import Parent

    if remove and weight is not None:
        raise typer.BadParameter("--weight says nothing about an edge that is taken back; leave it out")
    with registry_of(context) as registry:
        if remove:
            version = disconnect(registry.database, child, parent, relation, dry_run=dry_run)
        else:
            edge = Parent(parent, relation, weight)
            version = connect(registry.database, child, edge, dry_run=dry_run)
        report = registry.license_report(version.ref)
        for conflict in () if dry_run else report.conflicts:
            output.hint(f"licences conflict: {conflict}")
    if dry_run:
        output.hint(f"dry run: {version.ref} would be {'unlinked from' if remove else 'linked to'} {parent}")
    print_versions([version], json=json, quiet=quiet)

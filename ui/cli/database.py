"""Commands that set up and migrate: init, db upgrade, db downgrade, db check."""

from typing import TYPE_CHECKING, Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.options import Json, Quiet
from ui.cli.session import place_of, registry_of
from workbench.outcomes import Outcome

if TYPE_CHECKING:
    from workbench.database import Soundness

db = typer.Typer(no_args_is_help=True, help="The registry's database.")


def init(context: typer.Context, json: Json = False, quiet: Quiet = False) -> None:
    """Make the registry that the options and the environment name; one that is there stays as it is."""
    with registry_of(context) as registry:
        place = {"home": str(registry.home), "database": registry.database.address, "blobs": registry.store.address}
    if json:
        output.document("registry", place)
    elif quiet:
        output.lines([place["home"]])
    else:
        output.fields(place)
        output.hint("next: tau import FILE, or tau demo")


@db.command("upgrade")
def upgrade(context: typer.Context, json: Json = False, quiet: Quiet = False) -> None:
    """Migrate the database to the schema of this version."""
    from workbench.database import upgrade_database

    place = place_of(context)
    _print(upgrade_database(place.home, place.database), json=json, quiet=quiet)


@db.command("downgrade")
def downgrade(
    context: typer.Context,
    revision: Annotated[str, typer.Argument(help="Such as 0001, or base for an empty database.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Migrate the database back to an older version's schema; what that one has no place for is lost."""
    from workbench.database import downgrade_database

    place = place_of(context)
    if not yes:
        typer.confirm(f"take the database down to {revision}, losing what it has no place for?", abort=True, err=True)
    _print(downgrade_database(revision, place.home, place.database), json=json, quiet=quiet)


@db.command("check")
def check(context: typer.Context, json: Json = False, quiet: Quiet = False) -> None:
    """Say whether the database is at this version's schema and sound; exit 4 when it is not."""
    from workbench.database import check_database

    place = place_of(context)
    sound = check_database(place.home, place.database)
    _print(sound, json=json, quiet=quiet)
    if not sound.ok:
        output.problem("the database is not as it should be; bring its schema up to date with: tau db upgrade")
        raise typer.Exit(Outcome.REFUSED)


def _print(sound: "Soundness", *, json: bool, quiet: bool) -> None:
    if json:
        output.document("database", {**plain(sound), "ok": sound.ok})
    elif quiet:
        output.lines([sound.revision or "empty"])
    else:
        output.fields(
            {
                "database": sound.url,
                "schema": f"{sound.revision or 'empty'} (this version's: {sound.expected})",
                "complaints": "; ".join(sound.complaints) or "none",
            }
        )

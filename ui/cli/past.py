"""Commands on what was: history, and a model's earlier names."""

from typing import Annotated

import typer

from ui.cli import output
from ui.cli.documents import plain
from ui.cli.options import DryRun, Json, Quiet
from ui.cli.session import registry_of

LARGEST_PAGE = 1_000


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (history, rename):
        app.command()(command)


def history(
    context: typer.Context,
    model: Annotated[str | None, typer.Argument(help="The model's name; without one, everything.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=LARGEST_PAGE, help="How many at most.")] = LARGEST_PAGE,
    after: Annotated[int | None, typer.Option("--after", help="Go on after the event of this id.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What happened to a model and its versions: when, by whom, what was before and after."""
    with registry_of(context) as registry:
        events = registry.history(model, limit=limit, after=after)
    following = events[-1].id if len(events) == limit else None
    if json:
        output.document("history", {"model": model, "events": plain(events), "next": following})
    elif quiet:
        output.lines(event.action for event in events)
    else:
        output.rows(
            ("at", "actor", "subject", "action", "before", "after"),
            [(output.moment(e.at), e.actor, e.subject, e.action, e.before, e.after) for e in events],
        )
    if following and not json:
        output.hint(f"there may be more: --after {following}")


def rename(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's present name.")],
    name: Annotated[str, typer.Argument(help="The name that it has from now on.")],
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Call a model something else; its versions, history and lineage stay as they are."""
    with registry_of(context) as registry:
        registry.rename(model, name, dry_run=dry_run)
    if json:
        output.document("renamed", {"before": model, "after": name, "dry_run": dry_run})
    else:
        output.lines([name])
    if not quiet:
        output.hint(f"dry run: {model} would be called {name}" if dry_run else f"{model} is called {name} now")

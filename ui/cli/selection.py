"""Which versions a command is about: references, lines of stdin, or a query."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from registry import Registry, Version

SomeReferences = Annotated[list[str] | None, typer.Argument(help="Versions; - reads them from stdin, one a line.")]
Where = Annotated[str | None, typer.Option("--where", help="All that a query finds, such as 'kind:style -tag:nsfw'.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def selected(registry: "Registry", references: Iterable[str] | None, where: str | None) -> list["Version"]:
    """The versions that references and a query name together, each once; nothing at all is a usage error."""
    if not references and where is None:
        raise typer.BadParameter("name versions, or say which ones with --where")
    return registry.select(*expanded(references or ()), where=where)


def expanded(references: Iterable[str]) -> list[str]:
    """The references, `-` replaced by the lines of stdin."""
    named: list[str] = []
    for reference in references:
        if reference == "-":
            named += [line.strip() for line in sys.stdin if line.strip()]
        else:
            named.append(reference)
    return named


def confirm(versions: list["Version"], where: str | None, *, yes: bool) -> None:
    """Ask a person at a terminal before many versions change; elsewhere nobody can be asked. Raises Abort for a no."""
    if where is not None and not yes and versions and sys.stdin.isatty():
        typer.confirm(f"change {len(versions)} version{'s' if len(versions) != 1 else ''}?", abort=True, err=True)

"""Which registry a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ui.cli.output import hint

if TYPE_CHECKING:
    from registry import Registry


@dataclass(frozen=True)
class Place:
    """Where the registry is, as far as the command line says; the rest comes from TAU_* and the defaults."""

    home: Path | None = None
    database: str | None = None


def place_of(context: typer.Context) -> Place:
    """What the command line says of the registry's place."""
    return context.find_object(Place) or Place()


@contextmanager
def registry_of(context: typer.Context) -> Iterator["Registry"]:
    """The registry that the command line and the environment name; says on stderr which one that is."""
    from workbench.opening import open_registry

    place = place_of(context)
    with open_registry(place.home, place.database) as registry:
        hint(f"registry: {registry.database.address}")
        yield registry


@contextmanager
def registry_if_any(context: typer.Context) -> Iterator["Registry | None"]:
    """As `registry_of`, or None where no registry was made yet; none is made."""
    from workbench.opening import existing_registry

    place = place_of(context)
    with existing_registry(place.home, place.database) as registry:
        hint(f"registry: {registry.database.address}" if registry else "registry: none; references are paths")
        yield registry

"""Brings the registry's database to the schema of this code, and says whether it is sound."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.opening import database_exists, settings_of

if TYPE_CHECKING:
    from registry.database import Database


@dataclass(frozen=True)
class Soundness:
    """The schema that a database is at and should be at, and what its own checks complain about."""

    url: str
    revision: str | None
    expected: str
    complaints: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the database is at the expected schema and free of complaints."""
        return self.revision == self.expected and not self.complaints


def upgrade_database(home: Path | None = None, url: str | None = None) -> Soundness:
    """Migrate the database to the schema of this code; one that is there already stays as it is."""
    from registry import schema

    with _database(home, url) as database:
        schema.upgrade(database.engine)
        return soundness(database)


def downgrade_database(revision: str, home: Path | None = None, url: str | None = None) -> Soundness:
    """Take the database back to the schema of `revision`; what that one has no place for is lost."""
    from registry import schema

    with _database(home, url) as database:
        schema.downgrade(database.engine, revision)
        return soundness(database)


def check_database(home: Path | None = None, url: str | None = None) -> Soundness:
    """Compare the schema's revision, and have the database check its pages and references. Changes nothing."""
    from registry import schema

    if not database_exists(home, url):
        from registry.database import parse_address

        address = parse_address(settings_of(home, url).resolved_database_url)
        return Soundness(address.render_as_string(hide_password=True), None, schema.HEAD, ())
    with _database(home, url) as database:
        return soundness(database)


@contextmanager
def _database(home: Path | None, url: str | None) -> Iterator["Database"]:
    from registry.database import Database

    settings = settings_of(home, url)
    database = Database.connect(settings.resolved_database_url, settings.user)
    try:
        yield database
    finally:
        database.close()


def soundness(database: "Database") -> Soundness:
    """What an open database says of itself."""
    from registry import schema
    from registry.storage.soundness import complaints

    revision = schema.revision(database.engine)
    found = complaints(database.engine) if revision == schema.HEAD else ()
    return Soundness(database.address, revision, schema.HEAD, found)

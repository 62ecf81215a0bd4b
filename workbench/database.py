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
        return _soundness(database)


def check_database(home: Path | None = None, url: str | None = None) -> Soundness:
    """Compare the schema's revision, and have the database check its pages and references. Changes nothing."""
    from registry import schema

    if not database_exists(home, url):
        return Soundness(settings_of(home, url).resolved_database_url, None, schema.HEAD, ())
    with _database(home, url) as database:
        return _soundness(database)


@contextmanager
def _database(home: Path | None, url: str | None) -> Iterator["Database"]:
    from registry.database import Database

    settings = settings_of(home, url)
    database = Database.connect(settings.resolved_database_url, settings.user)
    try:
        yield database
    finally:
        database.close()


def _soundness(database: "Database") -> Soundness:
    from sqlalchemy import text

    from registry import schema

    with database.engine.connect() as connection:
        pages = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
        rows = connection.execute(text("PRAGMA foreign_key_check"))
        dangling = [f"{table} row {row} names a row of {parent} that is gone" for table, row, parent, _ in rows]
    url = database.engine.url.render_as_string(hide_password=True)
    return Soundness(url, schema.revision(database.engine), schema.HEAD, (*pages, *dangling))

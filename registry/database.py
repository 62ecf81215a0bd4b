"""The catalog's database: an engine, and the units of work that are opened on it."""

from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import URL, make_url

from registry import dialect
from registry.errors import Unsupported
from registry.filesystem import refuse_network_file_system
from registry.unit_of_work import UnitOfWork


class Database:
    """Opens reading and writing units of work on one database; `actor` signs what they record."""

    def __init__(self, engine: Engine, actor: str) -> None:
        self.engine = engine
        self.actor = actor
        self._writing = engine.execution_options(**{dialect.WRITING: True})

    @classmethod
    def connect(cls, url: str, actor: str) -> "Database":
        """Connect to `url`, a SQLite file. Raises Unsupported for any other address."""
        address = make_url(url)
        sqlite_file(address)
        return cls(dialect.prepare(create_engine(address)), actor)

    def reading(self) -> UnitOfWork:
        """A unit that sees one moment of the database and writes nothing."""
        return UnitOfWork(self.engine, self.actor)

    def writing(self) -> UnitOfWork:
        """A unit that holds the write lock from its beginning, so that what it reads is still true when it writes."""
        return UnitOfWork(self._writing, self.actor)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def sqlite_file(url: URL) -> Path:
    """The file behind a SQLite address, its folder made. Raises Unsupported where there is none."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        shown = url.render_as_string(hide_password=True)
        raise Unsupported(f"database {shown!r}: expected sqlite:///FILE. Unset TAU_DATABASE_URL to use TAU_HOME.")
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    refuse_network_file_system(path.parent)
    return path

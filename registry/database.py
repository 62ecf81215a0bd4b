"""The catalog's database: an engine, and the units of work that are opened on it."""

from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from registry import dialect
from registry.blobs.filesystem import refuse_network_file_system
from registry.errors import Unsupported
from registry.unit_of_work import UnitOfWork

POSTGRESQL = "postgresql+psycopg"
EXPECTED = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE. Unset TAU_DATABASE_URL to use TAU_HOME."


class Database:
    """Opens reading and writing units of work on one database; `actor` signs what they record."""

    def __init__(self, engine: Engine, actor: str) -> None:
        self.engine = engine
        self.actor = actor
        self._reading = dialect.for_reading(engine)
        self._writing = dialect.for_writing(engine)
        self._writing_rows = dialect.for_writing_rows(engine)

    @classmethod
    def connect(cls, url: str, actor: str) -> "Database":
        """Connect to `url`: a SQLite file, its folder made, or a PostgreSQL database. Raises Unsupported."""
        address = parse_address(url)
        if file := sqlite_file(address):
            file.parent.mkdir(parents=True, exist_ok=True)
            refuse_network_file_system(file.parent)
        return cls(_open_engine(address), actor)

    @property
    def address(self) -> str:
        """The database's address as it may be shown: without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def reading(self) -> UnitOfWork:
        """A unit that sees one moment of the database and writes nothing."""
        return UnitOfWork(self._reading, self.actor)

    def writing(self) -> UnitOfWork:
        """A unit that holds the write lock from its beginning, so that what it reads is still true when it writes."""
        return UnitOfWork(self._writing, self.actor)

    def writing_rows(self) -> UnitOfWork:
        """A unit that waits for nobody's turn: what it reads is still true only of the rows that it has locked.

        For writes whose rules lie within one row, such as the queue's; on SQLite it is `writing`.
        """
        return UnitOfWork(self._writing_rows, self.actor)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def parse_address(url: str) -> URL:
    """An address that we can open, its driver named. Raises Unsupported for any other."""
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise Unsupported(f"database {url.rpartition('@')[2]!r}: {EXPECTED}") from error
    if address.drivername == "postgresql":
        address = address.set(drivername=POSTGRESQL)
    in_file = address.get_backend_name() == "sqlite" and address.database not in (None, "", ":memory:")
    if not in_file and address.drivername != POSTGRESQL:
        raise Unsupported(f"database {address.render_as_string(hide_password=True)!r}: {EXPECTED}")
    return address


def sqlite_file(address: URL) -> Path | None:
    """The file behind a SQLite address, None for a database that is served."""
    return Path(str(address.database)) if address.get_backend_name() == "sqlite" else None


def _open_engine(address: URL) -> Engine:
    try:
        return dialect.open_engine(address)
    except ModuleNotFoundError as error:
        shown = address.render_as_string(hide_password=True)
        raise Unsupported(f"database {shown!r}: needs psycopg. Run: pip install 'tauworks[postgres]'.") from error

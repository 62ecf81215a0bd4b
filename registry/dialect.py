"""Everything that differs from one database to another: time, transactions, upserts, connection set-up."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, Text, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

BUSY_TIMEOUT_MS = 60_000
WRITING = "tau_writing"


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, to the millisecond: sortable ISO 8601 text on SQLite, timestamptz on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        utc = value.astimezone(UTC)
        return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or isinstance(value, datetime):
            return value
        return datetime.fromisoformat(value)


class now(FunctionElement[datetime]):  # noqa: N801
    """The database's own clock, moved by `now(seconds)` where given; never the caller's clock."""

    type = Instant()
    inherit_cache = True
    name = "now"


@compiles(now, "sqlite")
def _now_on_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    clock = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now'"
    moved = compiler.process(element.clauses, **options)
    return f"{clock}, ({moved}) || ' seconds')" if moved else f"{clock})"


@compiles(now, "postgresql")
def _now_on_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    moved = compiler.process(element.clauses, **options)
    return f"clock_timestamp() + make_interval(secs => {moved})" if moved else "clock_timestamp()"


def upsert(
    session: Session,
    table: type[DeclarativeBase],
    row: dict[str, Any],
    *,
    key: Sequence[str],
    update: Sequence[str] = (),
) -> None:
    """Insert `row`; where `key` is taken already, overwrite the columns of `update`, or leave it as it is."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(row)
    if update:
        values = {name: statement.excluded[name] for name in update}
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=values))
    else:
        session.execute(statement.on_conflict_do_nothing(index_elements=key))


def prepare(engine: Engine) -> Engine:
    """Make `engine` keep the registry's promises about transactions and durability."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_on_sqlite)
    return engine


def _set_up_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own start loses concurrent read-modify-writes
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_on_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

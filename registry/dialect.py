"""Everything that differs from one database to another: time, transactions, upserts, connection set-up."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, URL, Engine, String, Text, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DontWrapMixin, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from registry.errors import InvalidName, Unreachable

BUSY_TIMEOUT_MS = 60_000
"""How long a writing unit waits for the one before it."""

MAPPED = 2**31 - 2**16
"""Bytes of a SQLite file that are mapped into memory, as many as it can: they are read ahead, and never copied."""

CACHED_KB = 16_384
"""What each connection to SQLite keeps of the rest of the file."""

STALLED_MS = 600_000
"""After so long without a word from its client, PostgreSQL ends a writing unit, and with it the wait of the others."""

DOCUMENT = json.JSONDecoder()
WRITING = "tau_writing"
TURN, ROWS = "turn", "rows"
"""What a writing unit holds: its turn, or the rows that it locks."""

WRITE_LOCK = 0x7461_7577
"""The advisory lock that the writing units of one PostgreSQL database take in turn."""


class Instant(TypeDecorator[datetime]):
    """A moment in UTC, to the millisecond: sortable ISO 8601 text on SQLite, timestamptz on PostgreSQL."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return utc
        return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return (value if isinstance(value, datetime) else datetime.fromisoformat(value)).astimezone(UTC)


class PlainText(TypeDecorator[str]):
    """Text that both databases can hold: PostgreSQL knows no NUL character, and neither knows half a character."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None:
            _require_text(value, "text")
        return value


class PlainJson(TypeDecorator[Any]):
    """JSON that both databases can hold: objects and lists of texts, finite numbers, true, false and null.

    With `verbatim` its texts may be any that JSON can write, a NUL or half a character too: a file's own words. With
    `searched` PostgreSQL keeps it as JSONB, into which queries look.
    """

    impl = JSON
    cache_ok = True

    def __init__(self, *, verbatim: bool = False, searched: bool = False) -> None:
        super().__init__(none_as_null=True)
        self.verbatim = verbatim
        self.searched = searched

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        on_postgresql = self.searched and dialect.name == "postgresql"
        kept = postgresql.JSONB(none_as_null=True) if on_postgresql else JSON(none_as_null=True)
        return dialect.type_descriptor(kept)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        require_json(value, "JSON", verbatim=self.verbatim)
        return value


def require_json(value: Any, where: str, *, verbatim: bool = False) -> None:
    """Raise InvalidName, naming the place below `where`, unless `value` is what a JSON column takes."""
    if isinstance(value, str):
        if not verbatim:
            _require_text(value, where)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _NotPlain(f"{where}: key {key!r} is of type {type(key).__name__}, expected a text. Quote it.")
            require_json(key, where, verbatim=verbatim)
            require_json(inner, f"{where}.{key}", verbatim=verbatim)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            require_json(inner, f"{where}[{number}]", verbatim=verbatim)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _NotPlain(f"{where}: got {value!r}, expected a finite number. Leave it out, or say null.")
    elif value is not None and not isinstance(value, int):
        expected = "an object, a list, a text, a number, true, false or null"
        raise _NotPlain(f"{where}: got {value!r} of type {type(value).__name__}, expected {expected}. Convert it.")


def _require_text(value: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _NotPlain(f"{where} {value[:80]!r}: is no Unicode at character {error.start}. Take it out.") from error
    if "\0" in value:
        raise _NotPlain(f"{where} {value[:80]!r}: holds a NUL character. Take it out.")


class _NotPlain(InvalidName, DontWrapMixin):
    """Passes through SQLAlchemy as it is."""


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


class json_rows(FunctionElement[list[Any]]):  # noqa: N801
    """An aggregate: the rows of a query as one list of lists, in any order; empty where there are none."""

    type = JSON()
    inherit_cache = True
    name = "json_rows"


@compiles(json_rows, "sqlite")
def _json_rows_on_sqlite(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_group_array(json_array({compiler.process(element.clauses, **options)}))"


@compiles(json_rows, "postgresql")
def _json_rows_on_postgresql(element: json_rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"coalesce(json_agg(json_build_array({compiler.process(element.clauses, **options)})), '[]')"


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


def upsert_all(
    session: Session,
    table: type[DeclarativeBase],
    rows: Sequence[dict[str, Any]],
    *,
    key: Sequence[str],
    update: Sequence[str] = (),
    stamp: str | None = None,
) -> None:
    """`upsert` of many rows with the same columns in one statement; `stamp` is a column that gets the present time."""
    if not rows:
        return
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    times = {} if stamp is None else {stamp: now()}
    statement = insert(table.__table__).values(times)  # type: ignore[arg-type]
    if update or times:
        values: dict[str, Any] = {name: statement.excluded[name] for name in update} | times
        session.execute(statement.on_conflict_do_update(index_elements=key, set_=values), rows)
    else:
        session.execute(statement.on_conflict_do_nothing(index_elements=key), rows)


def open_engine(url: URL) -> Engine:
    """An engine that keeps the registry's promises about transactions and durability."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, json_deserializer=_read_json)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_on_sqlite)
        return engine
    engine = create_engine(url, pool_pre_ping=True)
    event.listen(engine, "connect", _set_up_postgresql)
    event.listen(engine, "begin", _begin_on_postgresql)
    event.listen(engine, "handle_error", _tell_unreachable)
    return engine


def for_reading(engine: Engine) -> Engine:
    """`engine`, its transactions seeing one moment of the database and unable to write."""
    if engine.dialect.name == "sqlite":
        return engine
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def for_writing(engine: Engine) -> Engine:
    """`engine`, its transactions one after the other: what one has read is still true when it writes.

    PostgreSQL's are READ COMMITTED, so that a unit that waited for its turn sees what the one before it wrote.
    """
    return engine.execution_options(**{WRITING: TURN})


def for_writing_rows(engine: Engine) -> Engine:
    """`engine`, its transactions writing side by side: what one has read is still true where it locked the row.

    SQLite has one writer at a time whatever is asked, so there this is `for_writing`.
    """
    return engine.execution_options(**{WRITING: ROWS})


def _read_json(said: str) -> Any:
    """As json.loads, faster: a page of versions holds hundreds of small documents, most of them empty."""
    return {} if said == "{}" else [] if said == "[]" else DOCUMENT.decode(said)


def _set_up_sqlite(connection: DBAPIConnection, _record: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver's own start loses concurrent read-modify-writes
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA mmap_size = {MAPPED}")
    cursor.execute(f"PRAGMA cache_size = {-CACHED_KB}")
    cursor.close()


def _begin_on_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get(WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _set_up_postgresql(connection: DBAPIConnection, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SET jit = off")  # our queries end before their machine code would be made
    cursor.close()
    connection.commit()


def _begin_on_postgresql(connection: Connection) -> None:
    writing = connection.get_execution_options().get(WRITING)
    if writing:
        turn = f"; SELECT pg_advisory_xact_lock({WRITE_LOCK})" if writing == TURN else ""
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_MS}; "
            f"SET LOCAL idle_in_transaction_session_timeout = {STALLED_MS}{turn}"
        )


def _tell_unreachable(context: ExceptionContext) -> None:
    """A server that is not there, lets nobody in, or went away is no defect of ours."""
    failed = isinstance(context.sqlalchemy_exception, OperationalError)
    if failed and context.engine is not None and (context.connection is None or context.is_disconnect):
        shown = context.engine.url.render_as_string(hide_password=True)
        said = " ".join(str(context.original_exception).split())
        raise Unreachable(f"database {shown}: {said}. Check that it runs and lets you in.")

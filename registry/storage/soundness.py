"""Soundness: what a database's own catalogue has to complain about."""

from sqlalchemy import Connection, Engine, text

from registry.tables.triggers import RULES

SQLITE_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
POSTGRESQL_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'"
NOT_VALID = "SELECT conrelid::regclass || ' ' || conname FROM pg_constraint WHERE NOT convalidated ORDER BY 1"
NOT_WHOLE = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready) ORDER BY 1"


def complaints(engine: Engine) -> tuple[str, ...]:
    """What is broken inside the database: pages, references, unchecked constraints, rules that are gone or off."""
    with engine.connect() as connection:
        own = _on_sqlite(connection) if engine.dialect.name == "sqlite" else _on_postgresql(connection)
        listed = SQLITE_TRIGGERS if engine.dialect.name == "sqlite" else POSTGRESQL_TRIGGERS
        there = set(connection.execute(text(listed)).scalars())
    return (*own, *(f"rule {rule.name} is gone or off" for rule in RULES if rule.name not in there))


def _on_sqlite(connection: Connection) -> list[str]:
    pages = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
    rows = connection.execute(text("PRAGMA foreign_key_check"))
    return [*pages, *(f"{table} row {row} names a row of {parent} that is gone" for table, row, parent, _ in rows)]


def _on_postgresql(connection: Connection) -> list[str]:
    unchecked = connection.execute(text(NOT_VALID)).scalars()
    unfinished = connection.execute(text(NOT_WHOLE)).scalars()
    return [
        *(f"constraint {name} was never checked against the rows that were there" for name in unchecked),
        *(f"index {name} is not complete" for name in unfinished),
    ]

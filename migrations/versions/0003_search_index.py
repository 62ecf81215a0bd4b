"""The search index: entries, full text and trigrams, and the triggers that keep them; indexes on times and ranks.

The statements lie beside this file, one a line for each database, as they were when this revision was made.
"""

import re
from pathlib import Path

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MADE = re.compile(r"CREATE (?:VIRTUAL )?(TABLE|VIEW|TRIGGER|INDEX|FUNCTION) (\w+)")
FILL = "INSERT INTO search_entry SELECT * FROM search_document"
WORDS = (
    "INSERT INTO search_word SELECT DISTINCT word FROM search_entry, unnest(tsvector_to_array(document)) AS word "
    "WHERE left(word, 1) NOT IN ('=', '@')"
)
REBUILD = ("search_text", "search_trigram")
INDEXES = (("version", "created_at"), ("adapter_facts", "rank"))


def upgrade() -> None:
    for table, column in INDEXES:
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column])
    statements = _statements()
    followers = [statement for statement in statements if statement.startswith("CREATE TRIGGER")]
    for statement in statements:
        if statement not in followers:
            _run(statement)
    _run(FILL)
    if op.get_bind().dialect.name == "sqlite":
        for table in REBUILD:
            _run(f"INSERT INTO {table} ({table}) VALUES ('rebuild')")
    else:
        _run(WORDS)
    for statement in followers:
        _run(statement)


def downgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    made = [found.groups() for found in map(MADE.match, _statements()) if found]
    for kind, name in reversed(made):
        if kind == "FUNCTION" or (kind == "TRIGGER" and not on_postgresql):
            _run(f"DROP {kind} {name}{' CASCADE' if on_postgresql else ''}")
    for kind, name in reversed(made):
        if kind in ("TABLE", "VIEW") and not (on_postgresql and kind == "VIEW"):
            _run(f"DROP {kind} {name}")
    for table, column in reversed(INDEXES):
        op.drop_index(op.f(f"ix_{table}_{column}"), table)


def _statements() -> list[str]:
    path = Path(__file__).with_name(f"0003_{op.get_bind().dialect.name}.sql")
    return [line.removesuffix(";") for line in path.read_text(encoding="utf-8").splitlines()]


def _run(statement: str) -> None:
    op.get_bind().exec_driver_sql(statement)

"""Alembic's entry: runs the migrations on the connection that registry.schema hands in, or on an engine."""

from typing import Any

from alembic import context
from sqlalchemy import Connection, Engine

from registry.dialect import for_writing
from registry.tables import metadata


def is_declared(_object: Any, name: str | None, kind: str, reflected: bool, _compared: Any) -> bool:
    """Whether to compare a thing with its declaration: tables that are made by plain SQL have none."""
    return not (kind == "table" and reflected and name not in metadata.tables)


def migrate(connection: Connection) -> None:
    """Run the revisions that were asked for inside the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        render_as_batch=True,
        transactional_ddl=False,
        include_object=is_declared,
    )
    context.run_migrations()


target = context.config.attributes["connection"]
if isinstance(target, Engine):
    with for_writing(target).begin() as opened:
        migrate(opened)
else:
    migrate(target)

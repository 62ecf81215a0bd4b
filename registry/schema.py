"""The schema's version: bringing a database to it, and refusing one that is not there."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from registry import dialect
from registry.errors import SchemaMismatch

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0008"
"""The newest revision under migrations/, known here so that opening a registry loads no Alembic."""


def migrations_folder() -> Path:
    """Where the migrations lie: inside the installed package, or at the root of a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "migrations"
    return installed if installed.is_dir() else here.parent / "migrations"


def revision(engine: Engine) -> str | None:
    """The revision that the database is at, None where it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def is_empty(engine: Engine) -> bool:
    """Whether the database has no table yet."""
    with engine.connect() as connection:
        return not inspect(connection).get_table_names()


def require_head(engine: Engine) -> None:
    """Raise SchemaMismatch unless the database is at HEAD."""
    found = revision(engine)
    if found != HEAD:
        at = "has no schema of ours" if found is None else f"is at revision {found}"
        shown = engine.url.render_as_string(hide_password=True)
        remedy = "Install a newer tauworks" if found is not None and found > HEAD else "Run `tau db upgrade`"
        raise SchemaMismatch(f"database {shown} {at}, expected {HEAD}. {remedy}.")


def upgrade(engine: Engine, target: str = "head") -> None:
    """Bring the database up to `target`, in one transaction: whoever comes second finds it done."""
    from alembic import command

    with _migrating(engine) as connection:
        command.upgrade(_config(connection), target)


def downgrade(engine: Engine, target: str) -> None:
    """Bring the database down to `target`, in one transaction."""
    from alembic import command

    with _migrating(engine) as connection:
        command.downgrade(_config(connection), target)


def _migrating(engine: Engine) -> AbstractContextManager[Connection]:
    return dialect.for_writing(engine).begin()


def _config(connection: Connection) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config

"""Opens the registry that the arguments, the environment and the user's own configuration name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry
    from registry.settings import Settings

DEMO = "demo"


def open_registry(home: Path | None = None, url: str | None = None) -> "Registry":
    """The registry in `home` or at `url`, else at TAU_HOME or TAU_DATABASE_URL, else in the user's data folder."""
    from registry import Registry

    return Registry.open(home, url)


@contextmanager
def existing_registry(home: Path | None = None, url: str | None = None) -> "Iterator[Registry | None]":
    """The registry that `open_registry` would open, or None where none has been made yet; none is made."""
    if not database_exists(home, url):
        yield None
        return
    with open_registry(home, url) as registry:
        yield registry


def database_exists(home: Path | None = None, url: str | None = None) -> bool:
    """Whether the registry's database has been made."""
    from registry.database import Database, parse_address, sqlite_file
    from registry.schema import is_empty

    settings = settings_of(home, url)
    if file := sqlite_file(parse_address(settings.resolved_database_url)):
        return file.exists()
    database = Database.connect(settings.resolved_database_url, settings.user)
    try:
        return not is_empty(database.engine)
    finally:
        database.close()


def settings_of(home: Path | None = None, url: str | None = None) -> "Settings":
    """The registry's settings: these arguments, then the environment, the user's own config file, the defaults."""
    from registry.settings import Settings

    said: dict[str, Any] = {"home": home, "database_url": url}
    return Settings(**{key: value for key, value in said.items() if value is not None})


def demo_home(home: Path | None = None) -> Path:
    """Where the demo keeps its own registry: a folder inside the user's."""
    return settings_of(home).home / DEMO

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
    from sqlalchemy.engine import make_url

    file = make_url(settings_of(home, url).resolved_database_url).database
    return bool(file) and Path(str(file)).exists()


def settings_of(home: Path | None = None, url: str | None = None) -> "Settings":
    """The registry's settings: these arguments, then the environment, the user's own config file, the defaults."""
    from registry.settings import Settings

    said: dict[str, Any] = {"home": home, "database_url": url}
    return Settings(**{key: value for key, value in said.items() if value is not None})


def demo_home(home: Path | None = None) -> Path:
    """Where the demo keeps its own registry: a folder inside the user's."""
    return settings_of(home).home / DEMO

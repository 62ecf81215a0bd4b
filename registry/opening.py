"""Opening: from arguments and settings to a database at the newest schema and a blob store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from registry import schema
from registry.blobs import BlobStore
from registry.database import Database, sqlite_file


@dataclass(frozen=True)
class Place:
    """An opened registry's parts."""

    database: Database
    store: BlobStore
    home: Path
    url: str


def open_place(home: Path | None, url: str | None, actor: str | None) -> Place:
    """Open the database and the store. A `home` without a `url` means the database in that folder, whatever the
    environment says. Raises SchemaMismatch and Unsupported.
    """
    from registry.settings import Settings

    said: dict[str, Any] = {"home": home, "database_url": url, "user": actor}
    named = {key: value for key, value in said.items() if value is not None}
    if home is not None:
        named["database_url"] = url
    settings = Settings(**named)
    folder = settings.home.expanduser().absolute()
    store = BlobStore(settings.blob_folder)
    address = settings.resolved_database_url
    is_new = not sqlite_file(make_url(address)).exists()
    database = Database.connect(address, settings.user)
    try:
        if is_new or schema.is_empty(database.engine):
            schema.upgrade(database.engine)
        schema.require_head(database.engine)
    except BaseException:
        database.close()
        raise
    return Place(database, store, folder, address)

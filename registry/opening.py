"""Opening: from arguments and settings to a database at the newest schema and a blob store."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry import schema
from registry.blobs.local import LocalBlobs
from registry.blobs.store import BlobStore
from registry.database import Database
from registry.errors import Unsupported

if TYPE_CHECKING:
    from registry.settings import Settings

BUCKET_SCHEME = "s3://"


@dataclass(frozen=True)
class Place:
    """An opened registry's parts."""

    database: Database
    store: BlobStore
    home: Path
    url: str


def open_place(home: Path | None, url: str | None, actor: str | None) -> Place:
    """Open the database and the store. A `home` without a `url` means the database in that folder, whatever the
    environment says. Raises SchemaMismatch, Unsupported and Unreachable.
    """
    from registry.settings import Settings

    said: dict[str, Any] = {"home": home, "database_url": url, "user": actor}
    named = {key: value for key, value in said.items() if value is not None}
    if home is not None:
        named["database_url"] = url
    settings = Settings(**named)
    folder = settings.home.expanduser().absolute()
    store = _open_store(settings, folder)
    address = settings.resolved_database_url
    database = Database.connect(address, settings.user)
    try:
        _bring_up(database)
    except BaseException:
        database.close()
        raise
    return Place(database, store, folder, address)


def _bring_up(database: Database) -> None:
    """Give an empty database its schema; refuse one that is at another revision."""
    if schema.is_empty(database.engine):
        schema.upgrade(database.engine)
    schema.require_head(database.engine)


def _open_store(settings: "Settings", home: Path) -> BlobStore:
    """The bucket or folder of blobs; copies of what is used from a bucket are kept in `home`."""
    if settings.blob_url is not None and settings.blob_url.startswith(BUCKET_SCHEME):
        try:
            from registry.blobs.s3 import S3Blobs
        except ImportError as error:
            raise Unsupported(
                f"TAU_BLOB_URL {settings.blob_url!r}: needs obstore. Install it: pip install 'tauworks[s3]'."
            ) from error
        return S3Blobs(settings.blob_url, home / "cache")
    return LocalBlobs(settings.blob_folder)

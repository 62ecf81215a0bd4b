"""Keeping: where bytes lie, what may go, and whether rows and bytes agree."""

from pathlib import Path

from registry.blobs.locations import Location, locations
from registry.blobs.store import BlobStore
from registry.database import Database
from registry.storage import garbage, relink
from registry.storage.check import Check, Consistency, Progress
from registry.storage.garbage import Swept
from registry.storage.relink import Relinked

GRACE_SECONDS = 24 * 3600.0
"""How long garbage is kept, so that a removal can be undone and no slow import is disturbed."""

IN_FLIGHT_SECONDS = 3600.0
"""Bytes without a row that are younger than this may belong to an import that is about to record them."""


class Storage:
    """The bytes of one registry."""

    def __init__(self, database: Database, store: BlobStore, opened: Path) -> None:
        self._database = database
        self._store = store
        self._opened = opened

    def gc(self, *, dry_run: bool = False, grace: float = GRACE_SECONDS) -> Swept:
        """Delete bytes that nothing has needed or touched for `grace` seconds; with `dry_run` only say which."""
        return garbage.collect(self._database, self._store, self._opened, grace=grace, dry_run=dry_run)

    def check(
        self,
        *,
        deep: bool = False,
        set_aside: bool = False,
        grace: float = IN_FLIGHT_SECONDS,
        progress: Progress | None = None,
    ) -> Consistency:
        """Compare rows and bytes; with `deep`, read every byte; with `set_aside`, move rotten blobs out of the way."""
        check = Check(
            self._database,
            self._store,
            deep=deep,
            set_aside=set_aside,
            grace=grace,
            progress=progress or (lambda done, total: None),
        )
        return check.run()

    def relink(self, folder: Path | str, *, dry_run: bool = False) -> Relinked:
        """Find files that were cataloged in place, or imported, and then moved to `folder`."""
        return relink.relink(self._database, Path(folder), dry_run=dry_run)

    def locations(self, sha256: str) -> list[Location]:
        """Where a blob's bytes can be read."""
        with self._database.reading() as uow:
            return locations(uow, [sha256]).get(sha256, [])

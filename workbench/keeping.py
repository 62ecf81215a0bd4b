"""Keeping the catalog's bytes: what may go, what was moved, what is broken; removing versions and restoring them."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.database import Soundness, soundness
from workbench.errors import UnknownPath

if TYPE_CHECKING:
    from registry import Registry, Version
    from registry.holdings import Holdings, Person
    from registry.storage.check import Consistency
    from registry.storage.garbage import Swept
    from registry.storage.relink import Relinked


@dataclass(frozen=True)
class Diagnosis:
    """The health of a registry: its database, its blob store, and whether the two agree."""

    database: Soundness
    blobs: str
    consistency: "Consistency"

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.database.ok and self.consistency.ok


@dataclass(frozen=True)
class Storage:
    """Where a registry lies, what it holds, and how much room is left on the disk of its home."""

    database: str
    blobs: str
    home: str
    free_bytes: int
    holdings: "Holdings"


def storage(registry: "Registry") -> Storage:
    """What there is, counted anew; reads tables whole."""
    from registry.holdings import holdings

    free = shutil.disk_usage(registry.home).free
    held = holdings(registry.database)
    return Storage(registry.database.address, registry.store.address, str(registry.home), free, held)


def people(registry: "Registry") -> "tuple[Person, ...]":
    """Whoever is known to the registry, or has worked with it."""
    from registry.holdings import people

    return people(registry.database)


def collect_garbage(registry: "Registry", *, grace: float | None = None, dry_run: bool = False) -> "Swept":
    """Delete bytes that nothing has needed or touched for `grace` seconds (default: a day), or say which."""
    from registry.storage.storage import GRACE_SECONDS

    return registry.storage.gc(dry_run=dry_run, grace=GRACE_SECONDS if grace is None else grace)


def relink(registry: "Registry", folder: Path, *, dry_run: bool = False) -> "Relinked":
    """Find files that were moved to `folder`, by what they hold. Raises UnknownPath."""
    if not folder.is_dir():
        raise UnknownPath(folder)
    return registry.storage.relink(folder, dry_run=dry_run)


def remove(registry: "Registry", references: Iterable[str], *, dry_run: bool = False) -> list["Version"]:
    """Remove versions, all or none; with `dry_run` everything is tried and nothing is kept."""
    return registry.remove_all(references, dry_run=dry_run)


def removed(registry: "Registry", reference: str) -> "Version":
    """The removed version that `reference` names. Raises NotFound."""
    return registry.removed(reference)


def restore_version(registry: "Registry", reference: str, source: Path | None = None) -> "Version":
    """Bring a removed version back, its bytes from `source` where they are gone. Raises UnknownPath."""
    if source is not None and not source.exists():
        raise UnknownPath(source)
    return registry.restore(reference, source)


def diagnose(
    registry: "Registry",
    *,
    deep: bool = False,
    set_aside: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Check the database's own soundness, then rows against bytes; with `deep` every byte is read and hashed."""
    consistency = registry.storage.check(deep=deep, set_aside=set_aside, progress=progress)
    return Diagnosis(soundness(registry.database), registry.store.address, consistency)

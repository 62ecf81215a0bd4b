"""Keeps what other tools say about a version: their words with its look-ups, their picture with its previews."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.scanning import LeftOut
from workbench.sidecars import Sidecars, Statement

if TYPE_CHECKING:
    from registry import Registry


def attach(registry: "Registry", ref: str, found: Sidecars, sha256: str | None) -> tuple[LeftOut, ...]:
    """Keep statements and a picture; what was left, and why.

    `sha256` is that of the version's only file. A statement about other bytes is kept, but fills in nothing.
    """
    left = list(found.left)
    for statement in found.statements:
        if not _keep(registry, ref, statement, sha256):
            left.append(LeftOut(Path(statement.uri), f"is about other bytes than {ref}: kept, not believed"))
    if found.picture is not None:
        add_picture(registry, ref, found.picture)
    return tuple(left)


def add_picture(registry: "Registry", ref: str, picture: Path) -> None:
    """Make a picture one of the version's previews, once."""
    content = picture.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in {preview.picture for preview in registry.previews(ref)}:
        registry.add_preview(ref, {"source": picture.name}, content, {})


def _keep(registry: "Registry", ref: str, statement: Statement, sha256: str | None) -> bool:
    from registry.lookups import Lookups

    is_about = sha256 is None or statement.is_about(sha256)
    Lookups(registry.database).record(
        ref,
        statement.service,
        "found",
        uri=statement.uri,
        document=statement.document,
        offer=statement.offer,
        linked=is_about,
    )
    return is_about

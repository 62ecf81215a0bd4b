"""Keeps what other tools say about a version: their words with its look-ups, their picture with its previews."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.intake.scanning import LeftOut
from workbench.intake.sidecars import Sidecars

if TYPE_CHECKING:
    from registry import Registry


def attach(registry: "Registry", ref: str, found: Sidecars, sha256: str | None) -> tuple[LeftOut, ...]:
    """Keep statements and a picture of a version that is there already; what was left, and why.

    `sha256` is that of the version's only file. A statement about other bytes is kept, but fills in nothing.
    """
    from registry.lookups import Lookups

    lookups = Lookups(registry.database)
    for said in found.statements:
        words = {"uri": said.uri, "document": said.document, "offer": said.offer}
        lookups.record(ref, said.service, "found", **words, linked=said.is_about(sha256))
    return complete(registry, ref, found, sha256)


def complete(registry: "Registry", ref: str, found: Sidecars, sha256: str | None) -> tuple[LeftOut, ...]:
    """Keep the picture of a version that was registered with the statements; what of all was left, and why."""
    if found.picture is not None:
        add_picture(registry, ref, found.picture)
    others = [said for said in found.statements if not said.is_about(sha256)]
    reason = f"is about other bytes than {ref}: kept, not believed"
    return (*found.left, *(LeftOut(Path(said.uri), reason) for said in others))


def add_picture(registry: "Registry", ref: str, picture: Path) -> None:
    """Make a picture one of the version's previews, once."""
    content = picture.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in {preview.picture for preview in registry.previews(ref)}:
        registry.add_preview(ref, {"source": picture.name}, content, {})

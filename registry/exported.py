"""Folders that an export wrote: which of their files are the version's own, and under which names it has them."""

import json
from pathlib import Path

from registry.values import Json

PROVENANCE = "provenance.json"
SCHEMA = "tauworks.provenance/1"
LARGEST_BYTES = 64 << 20


def provenance_in(folder: Path) -> Json | None:
    """The provenance that an export left in `folder`; None where there is none that can be read."""
    file = folder / PROVENANCE
    try:
        if file.is_symlink() or file.stat().st_size > LARGEST_BYTES:
            return None
        document = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def own_names(folder: Path) -> dict[str, str]:
    """Path in an exported folder -> the version's own path of that file; empty for any other folder.

    What else lies there, such as the card and the pictures, was made from the registry and is none of the content.
    """
    document = provenance_in(folder)
    listed = document.get("files") if document else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    named = {str(entry.get("path")): str(entry.get("artifact") or entry.get("path")) for entry in entries}
    return named if len(set(named.values())) == len(named) else {}


def sole_file(folder: Path) -> Path | None:
    """The one file of an exported version, None where it has several or the folder is no export."""
    names = own_names(folder)
    file = folder / next(iter(names), "")
    return file if len(names) == 1 and file.parent == folder and file.is_file() else None

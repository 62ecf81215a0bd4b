"""The JSON shapes of what the commands print; changes are additive."""

from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Lineage, Version
    from registry.jobs import Job


def plain(value: object) -> Any:
    """`value` in JSON's own types: value objects as objects, times in ISO 8601, paths as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return plain(value.value)
    return str(value) if isinstance(value, Path) else value


def version_document(version: "Version") -> dict[str, Any]:
    """A version, with its reference; what was left out of it where that is known."""
    document = {"ref": version.ref, **plain(version)}
    return document if version.left_out else {key: value for key, value in document.items() if key != "left_out"}


def versions_document(versions: Iterable["Version"]) -> dict[str, Any]:
    """A page of versions."""
    return {"versions": [version_document(version) for version in versions]}


def lineage_document(lineage: "Lineage") -> dict[str, Any]:
    """A lineage graph."""
    return {"nodes": plain(lineage.nodes), "edges": plain(lineage.edges), "complete": lineage.complete}


def job_document(job: "Job") -> dict[str, Any]:
    """A job."""
    return dict(plain(job))

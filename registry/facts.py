"""What identification says about a source, and what it means for a catalog entry."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from formats.architecture import Architecture, architecture, known_architectures
from formats.errors import FormatError
from formats.folders import architecture_of_folder
from formats.header import Header
from formats.identification import identify
from registry.errors import Refused
from registry.sources import Source
from registry.tables import AdapterFactsRow
from registry.values import Json, Kind

IDENTIFIER = "1"
"""Version of what is recorded; it changes when identification learns to say something else about the same bytes."""

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Facts:
    """The identification as JSON, the columns that are searched, and the module table of a base of a new family."""

    identification: Json
    kind: str
    architecture: str | None
    table: Architecture | None = None
    embedded: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """The base family."""
        return str(self.identification["family"]["value"])

    def row(self, version_id: int) -> AdapterFactsRow:
        """The facts as a row."""
        said = self.identification
        return AdapterFactsRow(
            version_id=version_id,
            identifier=IDENTIFIER,
            kind=self.kind,
            family=self.family,
            adapter=said["adapter"]["value"],
            layout=said["layout"]["value"],
            rank=said["rank"],
            alpha=said["alpha"],
            dtype=said["dtype"],
            modules=said["modules"],
            parameters=said["parameters"],
            architecture=self.architecture,
            identification=said,
        )


def shipped_architectures() -> tuple[Architecture, ...]:
    """The module tables that come with the code."""
    return tuple(architecture(name) for name in known_architectures())


def find_facts(source: Source, kind: Kind, slug: str, registered: Iterable[Architecture]) -> Facts | None:
    """Identify `source` and check that it can be a `kind`; None for other content that nothing is known about.

    Every safetensors header is read, whatever the kind. Raises formats' errors, and Refused for the wrong kind.
    """
    embedded = _embedded(source.headers())
    try:
        found = identify(source.path, architectures=(*shipped_architectures(), *registered))
    except FormatError:
        if kind == Kind.OTHER:
            return None
        raise
    _require_kind(source, kind, found.kind)
    said = found.to_json()
    if kind != Kind.BASE:
        return Facts(said, found.kind, found.architecture, None, embedded)
    if said["family"]["value"] != UNKNOWN:
        return Facts(said, found.kind, found.architecture or said["family"]["value"], None, embedded)
    table = architecture_of_folder(source.path, slug)
    return Facts(_own_family(said, table), found.kind, slug, table, embedded)


def _own_family(said: Json, table: Architecture) -> Json:
    evidence = [f"no known architecture has its {len(table.modules)} modules: {table.name} is a family of its own"]
    return {**said, "family": {"value": table.name, "confidence": 1.0, "evidence": evidence}}


def _require_kind(source: Source, kind: Kind, found: str) -> None:
    expected = {Kind.BASE: "base", Kind.OTHER: found}.get(kind, "vector")
    if found != expected:
        remedy = "kind base" if found == "base" else "kind other"
        raise Refused(f"{source.path}: identified as {found}, expected a {expected} for kind {kind}. Import it as {remedy}.")


def _embedded(headers: Mapping[str, Header]) -> dict[str, dict[str, str]]:
    """The metadata that the files carry, verbatim, by path."""
    return {path: dict(header.metadata) for path, header in headers.items() if header.metadata}


def modelspec(embedded: Mapping[str, Any], key: str) -> str | None:
    """What the files say under `modelspec.KEY`, where exactly one thing is said."""
    said = {metadata[f"modelspec.{key}"] for metadata in embedded.values() if metadata.get(f"modelspec.{key}")}
    return said.pop() if len(said) == 1 else None


def architecture_json(table: Architecture) -> Json:
    """A module table as plain JSON."""
    document: Json = json.loads(json.dumps(table.to_json()))
    return document

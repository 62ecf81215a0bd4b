"""What identification says about a source, and what it means for a catalog entry."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from formats.architecture import Architecture, architecture, known_architectures
from formats.errors import FormatError
from formats.findings import UNKNOWN, Identification
from formats.folders import architecture_of_folder
from formats.identification import identify
from registry.errors import Refused
from registry.sources import Source
from registry.tables import AdapterFactsRow
from registry.values import Json, Kind

IDENTIFIER = "1"
"""Version of what is recorded; it changes when identification learns to say something else about the same bytes."""


@dataclass(frozen=True)
class Facts:
    """The identification as JSON, the architecture it fits, and the module table of a base of a new family."""

    identification: Json
    kind: str
    architecture: str | None
    table: Architecture | None = None

    @property
    def family(self) -> str:
        """The base family."""
        return str(self.identification["family"]["value"])

    @property
    def sha256(self) -> str | None:
        """The sha256 of the file that was identified, None for a folder of many."""
        hashes = self.identification["hashes"]
        return str(hashes["sha256"]) if hashes else None

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


def find_facts(source: Source, kind: Kind, slug: str, registered: Iterable[Architecture]) -> Facts | None:
    """Identify `source` and check that it can be a `kind`; None for other content that nothing is known about.

    A base whose modules are no known architecture's starts a family of its own, called like its model.
    Raises formats' errors, and Refused for the wrong kind.
    """
    known = (*map(architecture, known_architectures()), *registered)
    try:
        found = identify(source.path, architectures=known)
    except FormatError:
        if kind == Kind.OTHER:
            return None
        raise
    _require_kind(source, kind, found)
    if kind != Kind.BASE or found.family.value != UNKNOWN:
        return Facts(found.to_json(), found.kind, found.architecture)
    table = architecture_of_folder(source.path, _free_name(slug, {one.name for one in known}))
    return Facts(_own_family(found.to_json(), table), found.kind, table.name, table)


def _free_name(slug: str, taken: Collection[str]) -> str:
    """`slug`, or `slug-2` and so on: a later version of a base may have other modules than its first one."""
    names = (slug if number == 1 else f"{slug}-{number}" for number in count(1))
    return next(name for name in names if name not in taken)


def _own_family(said: Json, table: Architecture) -> Json:
    evidence = [f"no known architecture has its {len(table.modules)} modules: {table.name} is a family of its own"]
    return {**said, "family": {"value": table.name, "confidence": 1.0, "evidence": evidence}}


def _require_kind(source: Source, kind: Kind, found: Identification) -> None:
    expected = {Kind.BASE: "base", Kind.OTHER: found.kind}.get(kind, "vector")
    if found.kind == expected:
        return
    got = "of no known sort" if found.kind == UNKNOWN else f"a {found.kind}"
    reason = f" ({found.warnings[0]})" if found.warnings else ""
    remedy = {
        "base": "Import it as kind base.",
        "vector": "Import it as kind style, acceleration or composition.",
        UNKNOWN: "Import the base that it is for first, or import it as kind other.",
    }[found.kind]
    raise Refused(f"{source.path}: is {got}{reason}, expected a {expected} for kind {kind}. {remedy}")


def modelspec(embedded: Mapping[str, Any], key: str) -> str | None:
    """What the files say under `modelspec.KEY`, where exactly one thing is said."""
    said = {metadata[f"modelspec.{key}"] for metadata in embedded.values() if metadata.get(f"modelspec.{key}")}
    return said.pop() if len(said) == 1 else None


def architecture_json(table: Architecture) -> Json:
    """A module table as plain JSON."""
    document: Json = json.loads(json.dumps(table.to_json()))
    return document

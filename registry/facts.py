"""What identification says about a source, and what it means for a catalog entry."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from formats.architecture import Architecture, all_architectures
from formats.digests import Digests
from formats.errors import FormatError
from formats.findings import UNKNOWN, Identification
from formats.folders import architecture_of_folder
from formats.header import Header
from formats.identification import identify
from formats.layout_hash import layout_hash
from formats.metadata import normalise
from registry.errors import Refused
from registry.sources import Source
from registry.tables import AdapterFactsRow
from registry.values import Json, Kind

IDENTIFIER = "2"
"""Version of what is recorded; it changes when identification learns to say something else about the same bytes.

"1" knew no variant, prediction type, broken file, pickle or base in one file, and kept neither short hashes nor the
layout hash. Its rows are read, searched and compared like any other, and what they do not say is absent, until the same
content is imported again: then they say what is known now, and history what they said before.
"""

OPAQUE = "opaque"
"""The kind of what identification never opens: a pickle, whatever it is called."""

BASE = "base"
"""The kind of what identification calls a whole model."""

VECTOR = "vector"
"""The kind of what identification calls an adapter."""

DESCRIBED = ("title", "description", "author", "license", "trigger_words")

DORA = "+dora"
"""How the name of an adapter kind ends whose weights are decomposed into direction and magnitude."""


@dataclass(frozen=True)
class Facts:
    """The identification as JSON, the architecture it fits, and the module table of a base of a new family."""

    identification: Json
    kind: str
    architecture: str | None
    table: Architecture | None = None
    layout_hash: str | None = None

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
            layout_hash=self.layout_hash,
            prediction_type=_known(said["prediction_type"]["value"]),
            confidence=said["family"]["confidence"],
            dora=str(said["adapter"]["value"]).endswith(DORA),
        )


def _known(value: str) -> str | None:
    return None if value == UNKNOWN else value


def find_facts(
    source: Source, kind: Kind, slug: str, registered: Iterable[Architecture], found: Identification | None = None
) -> Facts | None:
    """Identify `source`, unless that is done, and check that it can be a `kind`; None where nothing is known of it.

    A base whose modules are no known architecture's starts a family of its own, called like its model.
    Raises formats' errors, and Refused for the wrong kind.
    """
    known = all_architectures(registered)
    try:
        found = found or identify(source.path, architectures=known, hashes=False)
    except FormatError:
        if kind == Kind.OTHER:
            return None
        raise
    _require_kind(source, kind, found)
    if kind != Kind.BASE or found.family.value != UNKNOWN:
        return Facts(found.to_json(), found.kind, found.architecture)
    table = architecture_of_folder(source.path, _free_name(slug, {one.name for one in known}))
    return Facts(_own_family(found.to_json(), table), found.kind, table.name, table)


def with_digests(
    facts: Facts, weights: Path, digests: Digests, registered: Iterable[Architecture], header: Header | None
) -> Facts:
    """`facts` with what hashing adds: the digests of the one weight file, and the hash that survives another layout."""
    said = {**facts.identification, "hashes": digests.to_json()}
    known = {one.name: one for one in all_architectures(registered)}
    table = known.get(facts.architecture or "") if facts.kind == VECTOR else None
    hashed = layout_hash(weights, table, digests.tensors, header) if table else None
    return replace(facts, identification=said, layout_hash=hashed)


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
    got = {UNKNOWN: "of no known sort", OPAQUE: "a pickle"}.get(found.kind, f"a {found.kind}")
    reason = f" ({found.warnings[0]})" if found.warnings else ""
    remedy = {
        "base": "Import it as kind base.",
        "vector": "Import it as kind style, acceleration or composition.",
        OPAQUE: "Convert it to safetensors, or keep it closed as kind other.",
        UNKNOWN: "Import the base that it is for first, or import it as kind other.",
    }[found.kind]
    raise Refused(f"{source.path}: is {got}{reason}, expected a {expected} for kind {kind}. {remedy}")


def described(embedded: Mapping[str, Mapping[str, Any]]) -> Json:
    """What the files' own metadata say about title, description, author, licence and trigger words.

    A fact is left out where two files say different things.
    """
    said = [normalise(metadata) for metadata in embedded.values()]
    values = {name: {fact.value for one in said if (fact := getattr(one, name))} for name in DESCRIBED}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def architecture_json(table: Architecture) -> Json:
    """A module table as plain JSON."""
    document: Json = json.loads(json.dumps(table.to_json()))
    return document

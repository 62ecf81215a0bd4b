"""What a version's files say of where they came from: lineage, digests, recipe, proof; fit to be given to anybody.

There is no date of the export in it and no path of this machine: the same version gives the same bytes.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.giving.showcase import Picture
from workbench.giving.weight_files import GivenFile, GivenFiles, stored_layout

if TYPE_CHECKING:
    from registry import Lineage, Registry, Version


def provenance_of(
    registry: "Registry", version: "Version", given: GivenFiles, pictures: Sequence[Picture]
) -> dict[str, Any]:
    """The document that goes out beside a version's files, without secrets and machine paths."""
    from formats import scrub
    from registry.exported import SCHEMA

    recipe = registry.recipe(version)
    document = {
        "schema": SCHEMA,
        "model": _model(version),
        "version": _version(version),
        "layout": {"stored": stored_layout(version), "written": given.layout},
        "layout_hash": given.layout_hash,
        "files": [_file(version, file) for file in given.files],
        "pictures": [{"path": one.path, "prompt": one.prompt, "preview_sha256": one.sha256} for one in pictures],
        "origin": _origin(version),
        "lineage": _lineage(registry, version),
        "recipe": None if recipe is None else {"text": recipe.text, "locked": recipe.locked, "sha256": recipe.sha256},
        "certificate": registry.certificate(version),
    }
    scrubbed: dict[str, Any] = scrub(document)
    return scrubbed


def provenance_text(document: dict[str, Any]) -> str:
    """The document as its file holds it."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _model(version: "Version") -> dict[str, Any]:
    return {
        "name": version.model,
        "title": version.title,
        "kind": version.kind,
        "description": version.description,
        "license": version.license,
        "license_flags": dict(version.license_flags),
        "nsfw": version.nsfw,
    }


def _version(version: "Version") -> dict[str, Any]:
    facts = version.facts or {}
    return {
        "ref": version.ref,
        "number": version.number,
        "digest": version.digest,
        "created_at": version.created_at.isoformat(),
        "author": version.author,
        "family": version.family,
        "adapter": facts.get("adapter", {}).get("value"),
        "rank": facts.get("rank"),
        "alpha": facts.get("alpha"),
        "architecture": version.architecture,
        "trigger_words": list(version.trigger_words),
        "recommended_strength": version.recommended_strength,
        "recommended_low": version.recommended_low,
        "recommended_high": version.recommended_high,
        "sampling": dict(version.sampling),
    }


def _file(version: "Version", file: GivenFile) -> dict[str, Any]:
    """A written file; `artifact` and `stored_sha256` say which file of the version it is, and of which bytes."""
    stored = {artifact.path: artifact.sha256 for artifact in version.artifacts}
    return {
        "path": file.path,
        "artifact": file.artifact,
        "stored_sha256": stored.get(file.artifact) if file.artifact else None,
        "cleaned": list(file.cleaned),
        "size": file.digests.size,
        "sha256": file.digests.sha256,
        "blake3": file.digests.blake3,
        "data_sha256": file.digests.data_sha256,
        "tensor_hash": file.digests.tensor_hash,
    }


def _origin(version: "Version") -> dict[str, Any] | None:
    """Where the bytes came from: for a local file its name alone is left after scrubbing."""
    origin = version.origin
    return None if origin is None else {"kind": origin.kind, "uri": origin.uri, "revision": origin.revision}


def _lineage(registry: "Registry", version: "Version") -> dict[str, Any]:
    """What the version was made from, never what others made of it, with the digest of every version among it."""
    from registry import NotFound

    graph = registry.lineage(version.ref)
    above = ancestors(graph, version.ref)
    nodes = []
    for node in graph.nodes:
        if node.ref not in above or node.kind == "job":
            continue
        try:
            digest = registry.get(node.ref).digest if node.state is not None else None
        except NotFound:
            digest = None
        nodes.append({"ref": node.ref, "kind": node.kind, "title": node.title, "digest": digest})
    known = {node["ref"] for node in nodes}
    edges = [
        {"child": e.child, "parent": e.parent, "relation": e.relation, "weight": e.weight, "position": e.position}
        for e in graph.edges
        if e.child in known and e.parent in known
    ]
    return {"nodes": sorted(nodes, key=lambda node: str(node["ref"])), "edges": edges}


def ancestors(graph: "Lineage", ref: str) -> set[str]:
    """`ref` and everything that it was made from."""
    found, pending = {ref}, [ref]
    while pending:
        child = pending.pop()
        parents = {edge.parent for edge in graph.edges if edge.child == child} - found
        found |= parents
        pending += parents
    return found

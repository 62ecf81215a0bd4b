"""What of a selection goes where in another tool's folder: one name for each model, safe on every file system."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from workbench.giving.sync_items import Item, Items, beside, copy_of
from workbench.giving.tools import Tool
from workbench.giving.weight_files import (
    PEFT_CONFIG,
    SAFETENSORS,
    quarantined_file,
    stored_layout,
    why_not_convertible,
    write_files,
)
from workbench.recipes.architectures import Architectures

if TYPE_CHECKING:
    from registry import Artifact, Registry, Version

OFFERED_FIRST = ("published", "draft", "deprecated", "archived")
"""Which version of a model is taken where several are wanted: as a bare name prefers them."""

DEVICES = frozenset({"aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
"""Names that Windows keeps for devices, whatever their suffix."""

CONVERTED = "kohya"
SHORT, LONG = 8, 16
"""Digits of the digest in a name that would otherwise be taken."""


@dataclass(frozen=True)
class Placement:
    """A version and the files that it becomes under each name that it may get.

    `companions` (a preview, settings) are written where their place is free, and never move the version's own files.
    """

    version: "Version"
    stem: str
    items: Items
    companions: Items

    @property
    def stems(self) -> Iterator[str]:
        """The names to try, the one to prefer first."""
        yield self.stem
        yield f"{self.stem}-{self.version.digest[:SHORT]}"
        yield f"{self.stem}-{self.version.digest[:LONG]}"


def chosen(versions: Iterable["Version"], *, every_version: bool) -> "list[Version]":
    """The versions to give out, oldest first: all of them, or of each model the one that its name would mean."""
    found = sorted(versions, key=lambda version: version.id)
    if every_version:
        return found
    best: dict[str, Version] = {}
    for version in found:
        best[version.model] = max(best.get(version.model, version), version, key=_preference)
    return sorted(best.values(), key=lambda version: version.id)


def place(
    registry: "Registry", version: "Version", tool: Tool, known: Architectures, *, every_version: bool
) -> Placement | str:
    """Where a version goes, or why it goes nowhere."""
    stem = _stem(version, every_version=every_version)
    if quarantined_file(version) is not None:
        return "a pickle, which is never given out; convert it to safetensors"
    if version.kind == "other":
        return f"kind other: {tool.title} has no folder for it"
    if version.kind == "base":
        return _place_base(registry, version, tool, stem)
    weights = _sole_weights(version)
    if weights is not None and stored_layout(version) in tool.layouts:
        items = _as_stored(registry, weights, tool.vectors)
    elif (reason := why_not_convertible(registry, version, CONVERTED, known)) is not None:
        return reason
    else:
        items = _converted(registry, version, tool.vectors)
    return Placement(version, stem, items, beside(registry, version, tool, tool.vectors))


def _preference(version: "Version") -> tuple[int, int]:
    return -OFFERED_FIRST.index(version.state), version.number


def _stem(version: "Version", *, every_version: bool) -> str:
    stem = f"{version.model}-v{version.number}" if every_version else version.model
    return f"{stem}-1" if stem.partition(".")[0] in DEVICES else stem


def _place_base(registry: "Registry", version: "Version", tool: Tool, stem: str) -> Placement | str:
    if len(version.artifacts) == 1:
        items = _as_stored(registry, version.artifacts[0], tool.checkpoints)
        return Placement(version, stem, items, beside(registry, version, tool, tool.checkpoints))
    if tool.pipelines is None:
        return f"a folder of the diffusers layout, which {tool.title} does not read"
    return Placement(version, stem, _pipeline(registry, version, tool.pipelines), lambda _: [])


def _sole_weights(version: "Version") -> "Artifact | None":
    """The file that holds a vector by itself; None where a configuration belongs to it."""
    if any(artifact.path == PEFT_CONFIG for artifact in version.artifacts):
        return None
    weights = [artifact for artifact in version.artifacts if artifact.path.endswith(SAFETENSORS)]
    return weights[0] if len(weights) == 1 else None


def _as_stored(registry: "Registry", artifact: "Artifact", folder: str) -> Items:
    suffix = PurePosixPath(artifact.path).suffix
    return lambda stem: [copy_of(registry, artifact, f"{folder}/{stem}{suffix}")]


def _pipeline(registry: "Registry", version: "Version", folder: str) -> Items:
    return lambda stem: [
        copy_of(registry, artifact, f"{folder}/{stem}/{artifact.path}") for artifact in version.artifacts
    ]


def _converted(registry: "Registry", version: "Version", folder: str) -> Items:
    def write(target: Path) -> str:
        place = target.with_name(f"{target.name}.folder")
        place.mkdir()
        given = write_files(registry, version, place, layout=CONVERTED, clean=False)
        (place / given.weights).replace(target)
        return given.files[0].digests.sha256

    key = f"{version.digest}:{CONVERTED}"
    return lambda stem: [Item(f"{folder}/{stem}{SAFETENSORS}", key, write)]

"""A version's files on their way out: under the names that other tools look for, in the layout that is asked for.

Where the layout stays, the bytes stay. A header is written again only where secrets or machine paths must go, and then
every tensor keeps its bytes; a change of layout keeps every factor and scale. Both are checked on what was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from formats.adapter_files import DIFFUSERS_WEIGHTS, PEFT_CONFIG, PEFT_WEIGHTS
from workbench.errors import IdentityLost, NotAVector, Quarantined, UnsupportedLayout
from workbench.giving.cleaning import SAFETENSORS, Cleaned, write_cleaned
from workbench.recipes.architectures import Architectures
from workbench.recipes.references import resolve
from workbench.sums.checking import output_layout

if TYPE_CHECKING:
    from formats import Architecture, Digests, Layout
    from registry import Artifact, Registry, Version


CARD = "README.md"
PROVENANCE = "provenance.json"
RENAMED = {CARD: "original-README.md", PROVENANCE: "original-provenance.json"}
"""Files of a version whose place is taken by what is written beside it."""

STORED_AS: Mapping[str, str] = {"kohya-sgm": "kohya"}
"""Layouts that are a dialect of one that can be asked for."""

HASH_CLAIMS = ("sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256")
"""What a header says of the hash of its own tensors; wrong once they have other names."""

ADAPTER_METADATA = "lora_adapter_metadata"


@dataclass(frozen=True)
class GivenFile:
    """One file that was written; `artifact` is the version's own file that it is, None after a change of layout."""

    path: str
    digests: "Digests"
    artifact: str | None
    cleaned: tuple[str, ...] = ()
    """What lost a secret or a machine path: keys of its header or document, or the file itself where it is text."""
    unclean: str = ""
    """Why it could not be looked through although it should hold text; empty where it was, or need not be."""


@dataclass(frozen=True)
class GivenFiles:
    """What was written of a version. `weights` is what a vector is opened from: a file, or the folder itself."""

    files: tuple[GivenFile, ...]
    weights: str
    layout: str | None
    layout_hash: str | None
    converted: bool

    @property
    def is_bit_equal(self) -> bool:
        """Whether every file is the version's own, to the last bit."""
        return not self.converted and not any(file.cleaned for file in self.files)


def write_files(
    registry: "Registry", version: "Version", folder: Path, *, layout: str | None, clean: bool, stem: str | None = None
) -> GivenFiles:
    """Write a version's files into `folder`, which exists and is empty.

    Args:
        layout: kohya, kohya-sgm, diffusers, comfy or peft; None for the layout that it has.
        clean: take secrets and machine paths out of headers, documents and texts.
        stem: what a single file is called, the model's name by default.

    Raises:
        Quarantined: a pickle, which is never given out.
        UnsupportedLayout, NotConvertible: a layout that the version cannot be written in.
        CorruptBlob, IdentityLost: stored or written bytes that are not what they should be.
    """
    _require_harmless(version)
    wanted = None if layout is None else output_layout(layout)
    if wanted is None or _has_layout(version, wanted):
        return _write_as_stored(registry, version, folder, clean=clean, stem=stem or version.model)
    return _write_converted(registry, version, folder, wanted, clean=clean, stem=stem or version.model)


def why_not_convertible(registry: "Registry", version: "Version", layout: str, known: Architectures) -> str | None:
    """Why a vector cannot be written in a layout, None where it can; only its header is read."""
    from arithmetic import NotConvertible, require_convertible
    from formats import FormatError
    from registry import Refused

    try:
        require_convertible(known.open(resolve(registry, version.ref)), output_layout(layout))
    except (FormatError, NotAVector, NotConvertible, Refused) as error:
        return str(error)
    return None


def stored_layout(version: "Version") -> str | None:
    """The key layout that was identified, None where there is none."""
    return str(version.facts["layout"]["value"]) if version.facts else None


def table_of(registry: "Registry", version: "Version") -> "Architecture | None":
    """The module table of a vector."""
    return None if version.kind == "base" else Architectures(registry).of(version)


def quarantined_file(version: "Version") -> str | None:
    """A file of the version that can run code when it is opened, None where there is none."""
    from registry.sources import PICKLES, QUARANTINED

    for artifact in version.artifacts:
        if artifact.role == QUARANTINED or PurePosixPath(artifact.path).suffix.lower() in PICKLES:
            return artifact.path
    return None


def _require_harmless(version: "Version") -> None:
    if (path := quarantined_file(version)) is not None:
        raise Quarantined(
            f"{version.ref}: {path} is a pickle, which can run code when it is opened, and is never given out. Convert "
            "it to safetensors and import that."
        )


def _has_layout(version: "Version", wanted: "Layout") -> bool:
    """Whether a version is stored in the layout, for PEFT as the folder that PEFT opens."""
    stored = stored_layout(version) or ""
    if wanted.value not in (stored, STORED_AS.get(stored)):
        return False
    return wanted.value != "peft" or any(artifact.path == PEFT_CONFIG for artifact in version.artifacts)


def _write_as_stored(registry: "Registry", version: "Version", folder: Path, *, clean: bool, stem: str) -> GivenFiles:
    from registry.blobs.filesystem import safe_relative_path

    files = []
    for artifact in version.artifacts:
        name = _name(version, artifact, stem)
        target = folder / safe_relative_path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        files.append(_write_artifact(registry, version, artifact, target, name, clean=clean))
    weights = files[0].path if len(files) == 1 else "."
    table = table_of(registry, version)
    hashed = _layout_hash(folder / weights, table)
    if table is not None and hashed is not None and any(file.cleaned for file in files):
        _require_same(version, _layout_hash(registry.file(version), table), folder / weights, table)
    return GivenFiles(tuple(files), weights, stored_layout(version), hashed, converted=False)


def _name(version: "Version", artifact: "Artifact", stem: str) -> str:
    """What a file is called outside: a single one after its model, unless libraries look for a name of their own."""
    if len(version.artifacts) > 1:
        return RENAMED.get(artifact.path, artifact.path)
    if stored_layout(version) == "diffusers" and version.kind != "base" and stem == version.model:
        return DIFFUSERS_WEIGHTS
    return f"{stem}{PurePosixPath(artifact.path).suffix}"


def _write_artifact(
    registry: "Registry", version: "Version", artifact: "Artifact", target: Path, name: str, *, clean: bool
) -> GivenFile:
    from formats import digest
    from registry.blobs.staging import stage_file

    source = registry.blob_path(artifact.sha256)
    cleaned = write_cleaned(source, target, artifact.path) if clean else Cleaned()
    if cleaned.keys:
        _require_sound(version, artifact, digest(source).sha256)
        return GivenFile(name, digest(target), artifact.path, cleaned.keys)
    staged = stage_file(source, target)
    target.chmod(0o644)
    _require_sound(version, artifact, staged.digests.sha256)
    return GivenFile(name, staged.digests, artifact.path, unclean=cleaned.unclean)


def _require_sound(version: "Version", artifact: "Artifact", sha256: str) -> None:
    """Refuse bytes that are not those which were imported."""
    from registry import CorruptBlob

    if sha256 != artifact.sha256:
        raise CorruptBlob(
            f"{version.ref}: {artifact.path}: got sha256 {sha256}, expected {artifact.sha256}. "
            "Import the original file again."
        )


def _write_converted(
    registry: "Registry", version: "Version", folder: Path, wanted: "Layout", *, clean: bool, stem: str
) -> GivenFiles:
    from arithmetic import convert
    from arithmetic.sources.vector import weights_file
    from formats import digest, read_header, scrub

    if version.kind == "base":
        raise UnsupportedLayout(f"{version.ref}: a base has no key layout to choose; leave --format out")
    for artifact in version.artifacts:
        _require_sound(version, artifact, digest(registry.blob_path(artifact.sha256)).sha256)
    vector = Architectures(registry).open(resolve(registry, version.ref))
    metadata = read_header(weights_file(vector.path)).metadata
    kept = {key: value for key, value in metadata.items() if key not in (*HASH_CLAIMS, ADAPTER_METADATA)}
    weights = {"peft": ".", "diffusers": DIFFUSERS_WEIGHTS}.get(wanted.value, f"{stem}{SAFETENSORS}")
    place = folder / weights
    if wanted.value == "peft":
        folder.rmdir()  # `convert` makes it
    convert(vector, place, wanted, scrub(kept) if clean else kept)
    proven = _require_same(version, _layout_hash(vector.path, vector.architecture), place, vector.architecture)
    names = (PEFT_WEIGHTS, PEFT_CONFIG) if weights == "." else (weights,)
    files = tuple(GivenFile(name, digest(folder / name), None) for name in names)
    return GivenFiles(files, weights, wanted.value, proven, converted=True)


def _require_same(version: "Version", before: str | None, written: Path, table: "Architecture") -> str:
    after = _layout_hash(written, table)
    if before is None or after != before:
        raise IdentityLost(
            f"{version.ref}: written with the layout hash {after}, expected {before}. Take it in the layout that it "
            "has, and report this."
        )
    return after


def _layout_hash(path: Path, table: "Architecture | None") -> str | None:
    from formats import layout_hash

    return None if table is None else layout_hash(path, table)

"""What a reference in a recipe or on a command line stands for: a version of the registry, or a path."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import NoRegistry, UnknownPath, UnsupportedRecipe

if TYPE_CHECKING:
    from registry import Registry, Version

_PATH = re.compile(r"(\.{0,2}|~)[/\\]|[A-Za-z]:[/\\]|[^@:]*/")


@dataclass(frozen=True)
class Resolved:
    """What a reference means: its weights, and the version that they are of (None for a path)."""

    reference: str
    name: str
    path: Path
    version: "Version | None" = None

    @cached_property
    def sha256(self) -> str:
        """The digest that locks it; of a path, computed when it is asked for first."""
        return _digest_of(self.version) if self.version else content_digest(self.path)

    @property
    def named(self) -> str:
        """How messages and records call it: the version's own reference, or the path as typed."""
        return self.version.ref if self.version else self.reference

    @property
    def locked(self) -> str:
        """The reference that means these bytes for ever."""
        return f"sha256:{self.sha256}"


def is_path(reference: str) -> bool:
    """Whether a reference is a path: ./x, ../x, /x, ~/x, x/y or C:\\x. A bare file name is a name, never a path."""
    return _PATH.match(reference) is not None


def require_names(references: Iterable[str]) -> None:
    """Refuse paths: whoever writes an address must not learn what lies on the server. Raises UnsupportedRecipe."""
    for reference in references:
        if is_path(reference):
            raise UnsupportedRecipe(
                f"{reference}: is a path; only what is registered is composed here. tau import {reference}"
            )


def resolve(registry: "Registry | None", reference: str) -> Resolved:
    """The version or path that `reference` stands for; without a registry, a path.

    Raises NotFound with the nearest names, UnknownPath, NoRegistry, or what `registry.get` refuses.
    """
    if is_path(reference):
        return resolve_path(Path(reference).expanduser(), reference)
    if registry is None:
        raise NoRegistry(
            f"{reference}: there is no registry to find it in; write a path (./{reference}.safetensors), or make one: "
            "tau init"
        )
    version = _version_of(registry, reference)
    return Resolved(reference, version.model, weights_of(registry, version), version)


def resolve_target(registry: "Registry | None", target: str) -> Resolved:
    """What an argument names: a path, also a bare file name where one lies, else a version; nothing is hashed.

    Raises as `resolve`.
    """
    if is_path(target) or Path(target).exists():
        return resolve_path(Path(target).expanduser(), target)
    return resolve(registry, target)


def _version_of(registry: "Registry", reference: str) -> "Version":
    """What the registry calls so; where it is rather a file's name, the error says how a path is written."""
    from registry import NotFound

    try:
        return registry.get(reference)
    except NotFound as error:
        if error.nearest or not (reference.endswith(".safetensors") or Path(reference).exists()):
            raise
        raise NotFound(f"{error} A path is written with its folder: ./{reference}") from error


def resolve_path(path: Path, reference: str | None = None) -> Resolved:
    """A file or folder of weights outside the registry."""
    if not path.exists():
        raise UnknownPath(path)
    return Resolved(reference or str(path), path.stem, path.resolve())


def content_digest(path: Path) -> str:
    """The digest of a path's content that locks it: a file's own sha256, a folder's as its version would have it."""
    from formats import digest, file_sha256
    from registry.sources import open_source

    if path.is_file():
        return file_sha256(path)
    lines = sorted(f"{file.path}\0{digest(file.source).sha256}\n" for file in open_source(path).files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def weights_of(registry: "Registry", version: "Version") -> Path:
    """The weight file of a vector (its folder for PEFT), the folder of a base, or the one file that it is."""
    is_folder = version.kind == "base" and len(version.artifacts) > 1
    return registry.folder(version) if is_folder else registry.file(version)


def _digest_of(version: "Version") -> str:
    """A single file is known everywhere by its own sha256; a folder by the digest over all its files."""
    return version.artifacts[0].sha256 if len(version.artifacts) == 1 else version.digest

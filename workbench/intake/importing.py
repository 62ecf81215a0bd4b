"""Takes files into the registry, and says what a file is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import NotImportable, UnknownPath
from workbench.intake.scanning import is_archive
from workbench.painting.published_profiles import names_of, published_profile
from workbench.sums.measuring import measure_version

if TYPE_CHECKING:
    from formats import Architecture, Header, Identification
    from registry import Origin, Registry, Version
    from registry.lookups import Statement

RECIPE_KEY = "tauworks.recipe"
"""The header entry of a composition."""

DISTILLED_LAYERS = ("time_emb_proj", "conv1", "conv2", "proj_in", "ff_net_0_proj", "attn2_to_k")
"""Layer types that consistency distillation adapts all at once; kohya's trainer does too, but leaves ss_* metadata."""


def import_file(
    registry: "Registry",
    source: Path,
    *,
    kind: str | None = None,
    name: str | None = None,
    title: str | None = None,
    license: str | None = None,
    base: str | None = None,
    draft: bool = False,
    note: str | None = None,
    tags: Mapping[str, str] | None = None,
    trigger_words: tuple[str, ...] = (),
    recommended_strength: float | None = None,
    in_place: bool = False,
    origin: "Origin | None" = None,
    statements: "Iterable[Statement]" = (),
) -> "Version":
    """Register a weight file, PEFT folder or base folder; the kind follows from what it is unless it is told.

    Importing the same content again returns the version that is there. `origin` is where it came from, the path itself
    where None; `statements` fill in what nobody says, before it is decided whether the version is published.
    Raises UnknownPath, NotImportable, FormatError, Refused.
    """
    from formats import identify
    from registry.exported import sole_file

    if not source.exists():
        raise UnknownPath(source)
    source = sole_file(source) or source
    if source.is_file() and is_archive(source):
        raise NotImportable(f"{source}: an archive; unpack it, then import the folder")
    chosen = kind or kind_of(identify(source, architectures=known_tables(registry), hashes=False), source)
    published = published_profile(*names_of(source, name, origin.uri if origin else None))
    version = registry.add(
        source,
        kind=chosen,
        sampling=published if chosen == "acceleration" else None,
        name=name,
        title=title,
        license=license,
        base=base,
        draft=draft,
        note=note,
        tags=tags,
        trigger_words=trigger_words,
        recommended_strength=recommended_strength,
        in_place=in_place,
        origin=origin,
        statements=statements,
        kind_is_guess=kind is None,
    )
    measure_version(registry, version)
    return version


def identify_file(path: Path, registry: "Registry | None" = None) -> "Identification":
    """What a file or folder is, compared with the shipped architectures and those of the registered bases."""
    from formats import identify

    if not path.exists():
        raise UnknownPath(path)
    return identify(path, architectures=known_tables(registry))


def known_tables(registry: "Registry | None") -> "tuple[Architecture, ...]":
    """The module tables that files are compared with: the shipped ones, then those of the registered bases."""
    from formats import all_architectures

    return all_architectures(registry.architectures() if registry else ())


def kind_of(found: "Identification", path: Path) -> str:
    """The kind that a file or folder is most likely of. Raises NotAnAdapter for what is neither a base nor a vector."""
    from formats import NotAnAdapter

    if found.kind == "base":
        return "base"
    if found.kind == "opaque":
        raise NotAnAdapter(f"{path}: {found.warnings[0]}; to keep it closed all the same: --kind other")
    if found.kind != "vector":
        reasons = "; ".join(found.warnings) or "no key carries an adapter's mark"
        raise NotAnAdapter(f"{path}: neither a base nor a vector ({reasons}); to keep it all the same: --kind other")
    return vector_kind(path)


def vector_kind(path: Path) -> str:
    """A composition by its header, an acceleration vector by its signature, else a style.

    The signature is that of consistency distillation's scripts: the U-Net alone, all of its layer types at once, and no
    metadata of kohya's trainer.
    """
    from formats import open_adapter

    header = open_adapter(path).header
    if RECIPE_KEY in header.metadata:
        return "composition"
    return "acceleration" if _looks_distilled(header) else "style"


def _looks_distilled(header: "Header") -> bool:
    keys = [key.replace(".", "_") for key in header.tensors]
    from_a_trainer = any(key.startswith("ss_") for key in header.metadata)
    has_text_encoder = any("lora_te" in key or "text_encoder" in key for key in keys)
    has_every_layer = all(any(layer in key for key in keys) for layer in DISTILLED_LAYERS)
    return has_every_layer and not has_text_encoder and not from_a_trainer

"""Where everything that a base needs to paint comes from: its own folder, or its one file and what ships or is near."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from workbench.errors import TokenizerMissing, UnpaintableBase

if TYPE_CHECKING:
    from formats import Header
    from registry import Registry, Version
    from sampling import Checkpoint, Configuration

INDEX = "model_index.json"
VOCABULARIES = ("vocab.json", "tokenizer.json")
"""One of these in a folder makes it a tokenizer's."""

CLIP_TOKENIZER = "clip-tokenizer"
"""The model under which a tokenizer alone is found: its vocabulary is the same in every family that ships with us."""

ZERO_SNR = "ztsnr"
"""The key that trainers put into a checkpoint whose noise schedule ends in pure noise."""


def base_files(registry: "Registry", base: "Version") -> "Path | Checkpoint":
    """The diffusers folder of a base, or its one file with its configuration and the tokenizers that it needs.

    Raises UnpaintableBase for anything else, TokenizerMissing where the registry holds none that fits.
    """
    from formats import read_header
    from sampling import Checkpoint

    folder = registry.folder(base)
    if (folder / INDEX).is_file():
        return folder
    weights = [artifact.path for artifact in base.artifacts if artifact.path.endswith(".safetensors")]
    if len(base.artifacts) != 1 or len(weights) != 1:
        raise UnpaintableBase(
            f"{base.ref}: is neither a diffusers pipeline ({INDEX} is missing) nor one checkpoint, but "
            f"{len(base.artifacts)} files. Import the whole pipeline's folder: tau import FOLDER --kind base"
        )
    file = folder / weights[0]
    configuration = _configuration(registry, base, read_header(file))
    tokenizers = {name: _tokenizer(registry, base, name) for name in configuration.tokenizers}
    return Checkpoint(file, configuration, tokenizers)


def _configuration(registry: "Registry", base: "Version", header: "Header") -> "Configuration":
    """That of the base's family: the one that ships with us, else that of a registered folder of the family."""
    from sampling.shipped import FAMILIES, configuration_of, shipped_configuration

    family = base.family or "unknown"
    if family in FAMILIES:
        found = shipped_configuration(family)
    else:
        relative = next(_folders(registry, (family,)), None)
        if relative is None:
            raise UnpaintableBase(
                f"{base.ref}: one file of the family {family}, whose configuration does not ship with Tauworks. "
                "Import a base of that family as a diffusers folder: tau import FOLDER --kind base"
            )
        found = configuration_of(registry.folder(relative), family)
    said = (base.facts or {}).get("prediction_type", {}).get("value")
    if said in ("epsilon", "v_prediction"):
        found = found.predicting(said, zero_snr=ZERO_SNR in header.tensors)
    return found


def _tokenizer(registry: "Registry", base: "Version", name: str) -> Path:
    """A folder with that tokenizer's files: of a base of the same family, else of any that shares its vocabulary.

    A second tokenizer differs from the first only in how it pads, which the configuration says.
    """
    from sampling.shipped import FAMILIES

    family = base.family or "unknown"
    families = (family, *(other for other in FAMILIES if other != family)) if family in FAMILIES else (family,)
    for version in _folders(registry, families):
        for one in dict.fromkeys((name, "tokenizer")):
            if _holds_tokenizer(version, one):
                return registry.folder(version) / one
    if family in FAMILIES and (alone := _tokenizer_alone(registry)):
        return alone
    raise TokenizerMissing(base.ref, families)


def _folders(registry: "Registry", families: tuple[str, ...]) -> "Iterator[Version]":
    """The registered bases of these families that are diffusers folders."""
    for family in families:
        for version in registry.bases(family):
            if any(artifact.path == INDEX for artifact in version.artifacts):
                yield version


def _holds_tokenizer(version: "Version", name: str) -> bool:
    return any(artifact.path in {f"{name}/{file}" for file in VOCABULARIES} for artifact in version.artifacts)


def _tokenizer_alone(registry: "Registry") -> Path | None:
    """The folder within the model `clip-tokenizer` that holds a vocabulary."""
    from registry import NotFound

    try:
        version = registry.get(CLIP_TOKENIZER)
    except NotFound:
        return None
    places = [artifact.path for artifact in version.artifacts if PurePosixPath(artifact.path).name in VOCABULARIES]
    return registry.folder(version) / PurePosixPath(min(places, key=len)).parent if places else None

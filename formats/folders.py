"""Folders of the diffusers layout: which files hold a component's weights, and the module table that they describe."""

import json
from collections.abc import Mapping
from pathlib import Path

from formats.architecture import COMPONENTS, Architecture, ModuleKind, ModuleSpec
from formats.errors import FolderError
from formats.header import Header, TensorSpec, read_header

WEIGHT_STEMS = ("diffusion_pytorch_model", "model")
"""What diffusers and transformers call a component's weight file."""

EMBEDDINGS = ("token_embedding", "position_embedding")
"""Two-dimensional weights that are looked up, not multiplied."""


def is_base_folder(folder: Path) -> bool:
    """Whether `folder` has the layout of a diffusers pipeline with a U-Net."""
    return (folder / "unet" / "config.json").is_file()


def component_headers(folder: Path, component: str) -> tuple[Header, ...]:
    """The headers of all weight files of one component, shards included. Empty when the component is absent."""
    place = folder / component
    return weight_headers(place) if place.is_dir() else ()


def weight_headers(place: Path) -> tuple[Header, ...]:
    """The headers of all weight files directly in `place`, shards included. Raises FolderError where there is none."""
    return tuple(read_header(path) for path in _weight_files(place))


def architecture_of_folder(folder: Path | str, name: str) -> Architecture:
    """The module table of a diffusers folder, from the safetensors headers of its U-Net and text encoders.

    Text-encoder names are made to begin `text_model.`, whichever way transformers wrote them.
    Raises FolderError when there is no U-Net or a component has no safetensors weights.
    """
    folder = Path(folder)
    if not is_base_folder(folder):
        raise FolderError(f"{folder}: no base: unet/config.json is missing. Point at a diffusers pipeline's folder.")
    modules: dict[str, ModuleSpec] = {}
    for component in COMPONENTS:
        for header in component_headers(folder, component):
            modules.update(modules_of(component, header.tensors))
    return Architecture(name, dict(sorted(modules.items())))


def modules_of(component: str, tensors: Mapping[str, TensorSpec]) -> dict[str, ModuleSpec]:
    """The modules among `tensors` that an adapter can reach: every weight with two or more dimensions."""
    weights = {key.removesuffix(".weight"): spec.shape for key, spec in tensors.items() if key.endswith(".weight")}
    return {
        f"{component}.{canonical_name(component, name)}": ModuleSpec(_kind(name, shape), shape)
        for name, shape in weights.items()
        if len(shape) >= 2
    }


def canonical_name(component: str, name: str) -> str:
    """`name` as the tables spell it: CLIPTextModel of transformers 5 leaves out `text_model.`, the tables never do."""
    if component == "unet" or name.startswith(("text_model.", "text_projection")):
        return name
    return f"text_model.{name}"


def _kind(name: str, shape: tuple[int, ...]) -> ModuleKind:
    if len(shape) > 2:
        return "conv"
    return "embedding" if name.split(".")[-1] in EMBEDDINGS else "linear"


def _weight_files(place: Path) -> list[Path]:
    """The weight files of a component: the shards of its index, else the plain file, else one variant of it."""
    for stem in WEIGHT_STEMS:
        indexes = sorted(place.glob(f"{stem}*.safetensors.index*.json"), key=lambda path: (len(path.name), path.name))
        if (place / f"{stem}.safetensors").is_file():
            return [place / f"{stem}.safetensors"]
        if indexes:
            return shards_of(indexes[0])
        variants = sorted(place.glob(f"{stem}.*.safetensors"))
        if variants:
            return variants[:1]
    raise FolderError(
        f"{place}: no safetensors weights, expected {' or '.join(f'{stem}.safetensors' for stem in WEIGHT_STEMS)}. "
        "Save the component with safe_serialization=True."
    )


def shards_of(index: Path) -> list[Path]:
    """The weight files that an index of shards names. Raises FolderError for anything else."""
    try:
        shards = sorted({str(shard) for shard in json.loads(index.read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FolderError(f"{index}: not an index of shards: {error!r}. Fetch the file again.") from error
    strangers = [shard for shard in shards if Path(shard).name != shard]
    if strangers:
        raise FolderError(f"{index}: names {strangers[0]!r}, expected a file beside it. Do not trust this folder.")
    return [index.parent / shard for shard in shards]

"""What a base weighs in one precision, read off the headers of its files: no tensor is loaded. No torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from formats import Header, read_header
from formats.checkpoints import TEXT_ENCODERS, VAE, unet_prefix
from formats.folders import weight_headers
from sampling.memory import Footprint
from sampling.shipped import Configuration, configuration_of

NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


def footprint_of_folder(folder: Path, itemsize: int) -> Footprint:
    """That of a diffusers folder, its weights in `itemsize` bytes a number."""
    headers = {name: weight_headers(folder / name) for name in NETWORKS if (folder / name).is_dir()}
    sizes = {name: [spec.elements for one in own for spec in one.tensors.values()] for name, own in headers.items()}
    return _footprint(sizes, configuration_of(folder, folder.name), itemsize)


def footprint_of_file(file: Path, configuration: Configuration, itemsize: int) -> Footprint:
    """That of a checkpoint in one file."""
    header = read_header(file)
    begins = {"unet": (unet_prefix(header) or "model.diffusion_model.",), "vae": (VAE,), "text_encoder": TEXT_ENCODERS}
    sizes = {name: list(_sizes(header, prefixes)) for name, prefixes in begins.items()}
    return _footprint(sizes, configuration, itemsize)


def _sizes(header: Header, prefixes: tuple[str, ...]) -> Iterable[int]:
    return (spec.elements for name, spec in header.tensors.items() if name.startswith(prefixes))


def _footprint(sizes: Mapping[str, list[int]], configuration: Configuration, itemsize: int) -> Footprint:
    vae = configuration.documents["vae"]
    vae_itemsize = 4 if itemsize == 2 and _overflows(configuration, vae) else itemsize
    per_number = {name: vae_itemsize if name == "vae" else itemsize for name in sizes}
    return Footprint(
        weights={name: sum(own) * per_number[name] for name, own in sizes.items()},
        unet=configuration.documents["unet"],
        vae=vae,
        itemsize=itemsize,
        vae_itemsize=vae_itemsize,
        largest_module=max((max(own, default=0) * per_number[name] for name, own in sizes.items()), default=0),
    )


def _overflows(configuration: Configuration, vae: Mapping[str, Any]) -> bool:
    """Whether the VAE stays in single precision where the rest is in half: SDXL's says so."""
    return "text_encoder_2" in configuration.text_encoders and bool(vae.get("force_upcast", True))

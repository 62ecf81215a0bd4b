"""What a whole model is: a diffusers folder, a U-Net alone, or a checkpoint in one file."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from formats.architecture import COMPONENTS, Architecture
from formats.checkpoints import kin_of_checkpoint, missing_parts, text_tensors, unet_prefix, unet_tensors
from formats.digests import digest
from formats.dtypes import dtype_name
from formats.findings import CHECKPOINT, NO_ADAPTER, UNKNOWN, Finding, Identification
from formats.folders import architecture_of_folder, component_headers, modules_of, weight_headers
from formats.header import Header, TensorSpec
from formats.kinship import Kin, kin_of
from formats.marks import Marks
from formats.predictions import prediction_of_checkpoint, prediction_of_folder
from formats.spellings import Layout

U_NET_CLASS = "UNet2DConditionModel"
U_NET_KEYS = frozenset({"conv_in.weight", "conv_out.weight", "time_embedding.linear_1.weight"})
NEEDED = frozenset({"scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "vae"})
"""The components without which a pipeline cannot paint."""

ALONE = "a U-Net alone: its text encoders and VAE have to come from another base"


def identify_folder(folder: Path, tables: Sequence[Architecture]) -> Identification:
    """The facts of a diffusers folder. Raises FolderError and HeaderError for weights that are missing or malformed."""
    table = architecture_of_folder(folder, folder.name)
    own = {module: spec.shape for module, spec in table.modules.items()}
    kin = kin_of(lambda _: own, tables)
    headers = {component: component_headers(folder, component) for component in COMPONENTS}
    return _base(
        kin,
        Finding(Layout.DIFFUSERS, 1.0, (f"a diffusers folder with {', '.join(table.components)}",)),
        [spec for header in headers["unet"] for spec in header.tensors.values()],
        [spec for part in COMPONENTS[1:] for header in headers[part] for spec in header.tensors.values()],
        modules=len(own),
        prediction_type=prediction_of_folder(kin.family.value, folder),
        broken=kin.broken or _contradiction(folder, table) or _missing_component(folder),
    )


def identify_unet(
    headers: Sequence[Header], place: Path, tables: Sequence[Architecture], *, hashes: bool
) -> Identification:
    """The facts of a U-Net in diffusers' names without the rest of its pipeline, in one file or in shards."""
    specs = {name: spec for header in headers for name, spec in header.tensors.items()}
    own = {module: spec.shape for module, spec in modules_of("unet", specs).items()}
    kin = kin_of(lambda _: own, tables)
    return _base(
        kin,
        Finding(Layout.DIFFUSERS, 1.0, (f"{place.name} holds a U-Net in diffusers' names",)),
        list(specs.values()),
        [],
        modules=len(own),
        prediction_type=prediction_of_checkpoint(kin.family.value, headers[0]),
        broken=kin.broken,
        hashed=headers[0].path if hashes and not place.is_dir() else None,
        warnings=(ALONE,),
    )


def identify_checkpoint(
    header: Header, marks: Marks, tables: Sequence[Architecture], *, hashes: bool
) -> Identification | None:
    """The facts of a checkpoint in one file; None when its U-Net is no known family's."""
    prefix = unet_prefix(header)
    kin = None if prefix is None else kin_of_checkpoint(header, prefix, tables)
    if prefix is None or kin is None or kin.family.value == UNKNOWN:
        return None
    unet = unet_tensors(header, prefix)
    return _base(
        kin,
        Finding(CHECKPOINT, 1.0, (f"the original code's names under {prefix!r}",)),
        list(unet.values()),
        list(text_tensors(header).values()),
        modules=sum(name.endswith(".weight") and len(spec.shape) > 1 for name, spec in unet.items()),
        prediction_type=prediction_of_checkpoint(kin.family.value, header),
        broken=kin.broken,
        hashed=header.path if hashes else None,
        warnings=tuple(_checkpoint_warnings(header, marks)),
    )


def is_unet(header: Header) -> bool:
    """Whether the file holds a U-Net in diffusers' names; a ControlNet has no up blocks."""
    return header.tensors.keys() >= U_NET_KEYS and any(name.startswith("up_blocks.") for name in header.tensors)


def unet_folder_headers(folder: Path) -> tuple[Header, ...]:
    """The weight headers of a folder that is itself a U-Net with its config.json; empty for any other folder."""
    config = _read_object(folder / "config.json")
    return weight_headers(folder) if config.get("_class_name") == U_NET_CLASS else ()


def _base(
    kin: Kin,
    layout: Finding,
    unet: list[TensorSpec],
    rest: list[TensorSpec],
    *,
    modules: int,
    prediction_type: Finding,
    broken: str | None,
    hashed: Path | None = None,
    warnings: tuple[str, ...] = (),
) -> Identification:
    elements: Counter[str] = Counter()
    for spec in unet:
        elements[spec.dtype] += spec.elements
    return Identification(
        kind="base",
        family=kin.family,
        adapter=Finding(NO_ADAPTER, 1.0, ("a whole base, no adapter",)),
        layout=layout,
        rank=None,
        ranks={},
        alpha=None,
        dtype=dtype_name(elements),
        modules=modules,
        parameters=elements.total() + sum(spec.elements for spec in rest),
        hashes=None if hashed is None else digest(hashed),
        architecture=kin.architecture,
        warnings=(*warnings, *([broken] if broken else [])),
        variant=kin.variant,
        prediction_type=prediction_type,
        broken=broken,
    )


def _contradiction(folder: Path, table: Architecture) -> str | None:
    """How unet/config.json contradicts the weights beside it."""
    said = _read_object(folder / "unet" / "config.json").get("cross_attention_dim")
    widths = {spec.shape[1] for module, spec in table.modules.items() if module.endswith(".attn2.to_k")}
    if not isinstance(said, int) or len(widths) != 1 or widths == {said}:
        return None
    return (
        f"recognised, but broken: unet/config.json says that cross attention reads {said} features, the weights read "
        f"{widths.pop()}"
    )


def _missing_component(folder: Path) -> str | None:
    """The first needed component that model_index.json names and that is not there."""
    for name, value in _read_object(folder / "model_index.json").items():
        is_named = name in NEEDED and isinstance(value, list) and any(value)
        if is_named and not (folder / name).is_dir():
            return f"recognised, but broken: model_index.json names {name}, and there is no folder of that name"
    return None


def _checkpoint_warnings(header: Header, marks: Marks) -> Iterable[str]:
    missing = missing_parts(header)
    if missing:
        yield f"the file holds no {' and no '.join(missing)}"
    if marks.pieces:
        first = next(iter(marks.pieces))
        yield f"the keys of an adapter are left in it, of {len(marks.pieces)} modules, e.g. {first!r}"


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in `path`; an empty one where there is none, since a U-Net's weights say what it is."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

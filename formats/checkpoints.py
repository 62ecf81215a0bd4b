"""A checkpoint in one file, under the names of the original code: its parts, and the modules of its U-Net."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from formats.architecture import Architecture
from formats.findings import Finding
from formats.header import Header, TensorSpec
from formats.kinship import Kin, Shapes, kin_of
from formats.spellings import Layout, stem_index, stems
from formats.variants import variant_modules

U_NET_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
"""What stands before the names of the U-Net: in a whole checkpoint, and where it is stored alone."""

U_NET_KEYS = frozenset({"input_blocks.0.0.weight", "out.2.weight"})
TEXT_ENCODERS = ("cond_stage_model.", "conditioner.embedders.")
VAE = "first_stage_model."
CHECKPOINT_PREFIXES = ("model.diffusion_model.", VAE, *TEXT_ENCODERS)

TOKEN_EMBEDDING = "token_embedding.weight"
EMBEDDING_OF = ("text_encoder", "text_encoder_2")
CONTRADICTED = 0.2
"""What text encoders of another family's width take away."""


def unet_prefix(header: Header) -> str | None:
    """What stands before the names of the original code's U-Net in the file; None when it holds none."""
    for prefix in U_NET_PREFIXES:
        if header.tensors.keys() >= {prefix + key for key in U_NET_KEYS}:
            return prefix
    return None


def unet_tensors(header: Header, prefix: str) -> dict[str, TensorSpec]:
    """The U-Net's tensors, without `prefix`."""
    found = {name[len(prefix) :]: spec for name, spec in header.tensors.items() if name.startswith(prefix)}
    return found if prefix else {name: spec for name, spec in found.items() if not name.startswith(CHECKPOINT_PREFIXES)}


def text_tensors(header: Header) -> dict[str, TensorSpec]:
    """The tensors of the text encoders, under their full names."""
    return {name: spec for name, spec in header.tensors.items() if name.startswith(TEXT_ENCODERS)}


def kin_of_checkpoint(header: Header, prefix: str, tables: Sequence[Architecture]) -> Kin:
    """The family of the U-Net, with what the text encoders' widths say to it."""
    weights = {
        name.removesuffix(".weight"): spec.shape
        for name, spec in unet_tensors(header, prefix).items()
        if name.endswith(".weight") and len(spec.shape) > 1
    }
    return _with_text_encoders(kin_of(lambda table: _under_names_of(table, weights), tables), header)


def missing_parts(header: Header) -> tuple[str, ...]:
    """Which parts of a whole model the file does not hold."""
    parts = (("text encoder", TEXT_ENCODERS), ("VAE", (VAE,)))
    return tuple(part for part, prefixes in parts if not any(name.startswith(prefixes) for name in header.tensors))


def _under_names_of(table: Architecture, weights: Shapes) -> Shapes:
    names = _original_names(table)
    return {names.get(name, f"unet.{name}"): shape for name, shape in weights.items()}


@lru_cache(maxsize=64)
def _original_names(table: Architecture) -> Mapping[str, str]:
    """Name in the original code -> module of the table, or of one of its variants."""
    index = stem_index(table, Layout.COMFY)
    names = {stem.removeprefix("diffusion_model."): found[0].module for stem, found in index.items()}
    for _, module, _ in variant_modules(table):
        names |= {stem.removeprefix("diffusion_model."): module for stem in stems(Layout.COMFY, module, table)}
    return names


def _with_text_encoders(kin: Kin, header: Header) -> Kin:
    """`kin` with the widths of the text encoders as evidence for or against it."""
    embeddings = sorted(name for name in text_tensors(header) if name.endswith(TOKEN_EMBEDDING))
    widths = [header.tensors[name].shape[-1] for name in embeddings if header.tensors[name].shape]
    if kin.table is None or not widths:
        return kin
    expected = [
        kin.table.modules[name].shape[1]
        for part in EMBEDDING_OF
        if (name := f"{part}.text_model.embeddings.token_embedding") in kin.table.modules
    ]
    is_own = widths == expected
    sentence = f"its text encoders are {' and '.join(map(str, widths))} wide, {kin.family.value}'s {expected}"
    confidence = kin.family.confidence if is_own else round(kin.family.confidence - CONTRADICTED, 2)
    if is_own:
        sentence = f"its text encoders are {' and '.join(map(str, widths))} wide, as {kin.family.value}'s"
    return replace(kin, family=Finding(kin.family.value, confidence, (*kin.family.evidence, sentence)))

"""How a base's files name the tensors of its modules: functions from the table's names to keys, used forward only."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from formats import Architecture, Layout, component_of
from formats.checkpoints import U_NET_PREFIXES
from formats.spellings import inner_names, stems


class Address(NamedTuple):
    """A key that may hold a module's tensor. `third`: which third of its rows; `transposed`: stored (in, out)."""

    key: str
    third: int | None = None
    transposed: bool = False


Naming = Callable[[str, str], Iterator[Address]]
"""(name below its component, `weight` or `bias`) -> where to look for it, the likeliest first."""

CLIP_IN_CHECKPOINT = ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer.")
"""What stands before transformers' names of a first text encoder: in SD-1 and SDXL checkpoints."""

OPENCLIP_IN_CHECKPOINT: Sequence[str] = ("cond_stage_model.model.",)
SECOND_OPENCLIP_IN_CHECKPOINT: Sequence[str] = ("conditioner.embedders.1.model.",)
ONLY_OPENCLIP_IN_CHECKPOINT: Sequence[str] = ("conditioner.embedders.0.model.", "conditioner.embedders.1.model.")
"""Where an OpenCLIP text encoder is: SD-2's, SDXL's second, and the only one of SDXL's refiner."""

LAYERS = "text_model.encoder.layers."
OPENCLIP_LAYERS = "transformer.resblocks."
IN_OPENCLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
FUSED = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
"""The projections that OpenCLIP keeps in one tensor, in the order of its rows."""

OUTSIDE_OPENCLIP_LAYERS = {
    "text_model.embeddings.token_embedding.weight": Address("token_embedding.weight"),
    "text_model.embeddings.position_embedding.weight": Address("positional_embedding"),
    "text_model.final_layer_norm.weight": Address("ln_final.weight"),
    "text_model.final_layer_norm.bias": Address("ln_final.bias"),
    "text_projection.weight": Address("text_projection", transposed=True),
}


def in_diffusers(component: str, prefix: str = "") -> Naming:
    """The names of diffusers and transformers, a text encoder's also as transformers 5 leaves out `text_model.`."""

    def naming(name: str, end: str) -> Iterator[Address]:
        for inner in inner_names(component, name):
            yield Address(f"{prefix}{inner}.{end}")

    return naming


def in_original_code(architecture: Architecture, prefix: str) -> Naming:
    """The original code's names of a U-Net."""

    def naming(name: str, end: str) -> Iterator[Address]:
        for stem in stems(Layout.COMFY, f"unet.{name}", architecture):
            yield Address(f"{prefix}{stem.removeprefix('diffusion_model.')}.{end}")

    return naming


def in_openclip(prefix: str) -> Naming:
    """OpenCLIP's names of a text encoder; query, key and value are the thirds of one tensor."""

    def naming(name: str, end: str) -> Iterator[Address]:
        if not name.startswith(LAYERS):
            found = OUTSIDE_OPENCLIP_LAYERS.get(f"{name}.{end}")
            if found is not None:
                yield found._replace(key=prefix + found.key)
            return
        layer, _, part = name.removeprefix(LAYERS).partition(".")
        if part in FUSED:
            yield Address(f"{prefix}{OPENCLIP_LAYERS}{layer}.attn.in_proj_{end}", FUSED.index(part))
        elif part in IN_OPENCLIP_LAYER:
            yield Address(f"{prefix}{OPENCLIP_LAYERS}{layer}.{IN_OPENCLIP_LAYER[part]}.{end}")

    return naming


def namings_of_file(component: str, architecture: Architecture) -> Sequence[Naming]:
    """All ways in which a single file may name a component: whole checkpoints, and a U-Net alone in either dialect."""
    if component == "unet":
        return (*(in_original_code(architecture, prefix) for prefix in U_NET_PREFIXES), in_diffusers(component))
    openclip = SECOND_OPENCLIP_IN_CHECKPOINT
    if component == "text_encoder":
        openclip = OPENCLIP_IN_CHECKPOINT
    elif not any(component_of(module) == "text_encoder" for module in architecture.modules):
        openclip = ONLY_OPENCLIP_IN_CHECKPOINT
    clip = CLIP_IN_CHECKPOINT if component == "text_encoder" else ()
    return (*(in_diffusers(component, prefix) for prefix in clip), *map(in_openclip, openclip))

"""How each layout spells the name of a module: a function from the module table to keys, used forward only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from formats.architecture import Architecture
from formats.sgm import layers_per_block, sgm_name, up_blocks_with_attention


class Layout(StrEnum):
    """The layouts whose keys are looked up."""

    KOHYA = "kohya"
    """`lora_unet_down_blocks_0_...`, `lora_te_...`: diffusers names, flattened; alpha in the file."""
    KOHYA_SGM = "kohya-sgm"
    """`lora_unet_input_blocks_4_1_...`: the original code's names, flattened; alpha in the file."""
    DIFFUSERS = "diffusers"
    """`unet.....lora_A.weight`; alpha in the header's `lora_adapter_metadata`."""
    DIFFUSERS_OLD = "diffusers-old"
    """`unet.....processor.to_q_lora.down.weight`, `.lora.down.weight`, `.lora_linear_layer.down.weight`."""
    PEFT = "peft"
    """`base_model.model.....lora_A.weight`; alpha in the folder's adapter_config.json."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A module and the layout in which a stem (a key without its last part) spells it."""

    layout: Layout
    module: str


OLD_ATTENTION: Mapping[str, str] = {
    "to_q": "to_q_lora",
    "to_k": "to_k_lora",
    "to_v": "to_v_lora",
    "to_out.0": "to_out_lora",
}
"""What the first diffusers wrote below `.processor` for each projection of the U-Net."""

OLD_SELF_ATTENTION: Mapping[str, str] = {
    "q_proj": "to_q_lora",
    "k_proj": "to_k_lora",
    "v_proj": "to_v_lora",
    "out_proj": "to_out_lora",
}
"""What the first diffusers wrote for each projection of a text encoder."""

KOHYA_PREFIXES: Mapping[str, str] = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def stems(layout: Layout, module: str, architecture: Architecture) -> tuple[str, ...]:
    """The stems of `module`'s keys in `layout`, the one to write first; empty where the layout cannot name it."""
    component, _, name = module.partition(".")
    match layout:
        case Layout.KOHYA:
            return (_flat(component, name, architecture),)
        case Layout.KOHYA_SGM:
            original = _sgm(name, architecture) if component == "unet" else name
            return (_flat(component, original, architecture),) if original else ()
        case Layout.DIFFUSERS:
            return (*_dotted(component, name), *([name] if component == "unet" else []))
        case Layout.DIFFUSERS_OLD:
            return tuple(_old(component, name))
        case Layout.PEFT:
            return tuple(f"base_model.model.{stem}" for stem in _wrapped(component, name))


@lru_cache(maxsize=64)
def stem_index(architecture: Architecture) -> Mapping[str, tuple[Spelling, ...]]:
    """Every stem of every layout, with the modules it spells: more than one only where it names no component."""
    index: dict[str, tuple[Spelling, ...]] = {}
    for layout in Layout:
        for module in architecture.modules:
            for stem in stems(layout, module, architecture):
                if all(known.module != module for known in index.get(stem, ())):
                    index[stem] = (*index.get(stem, ()), Spelling(layout, module))
    return index


def _flat(component: str, name: str, architecture: Architecture) -> str:
    prefix = KOHYA_PREFIXES[component]
    if component == "text_encoder" and "text_encoder_2" in _components(architecture):
        prefix = "lora_te1"
    return f"{prefix}_{name.replace('.', '_')}"


@lru_cache(maxsize=64)
def _components(architecture: Architecture) -> tuple[str, ...]:
    return architecture.components


@lru_cache(maxsize=64)
def _blocks(architecture: Architecture) -> tuple[int, frozenset[int]]:
    return layers_per_block(architecture.modules), up_blocks_with_attention(architecture.modules)


def _sgm(name: str, architecture: Architecture) -> str | None:
    return sgm_name(name, *_blocks(architecture))


def _dotted(component: str, name: str) -> list[str]:
    """`name` below its component; a text encoder's also as transformers 5 names it."""
    return [f"{component}.{inner}" for inner in inner_names(component, name)]


def inner_names(component: str, name: str) -> list[str]:
    """The names that libraries give a module within its component: the table's, and transformers 5's."""
    short = name.removeprefix("text_model.")
    return [name] if component == "unet" or short == name else [name, short]


def _wrapped(component: str, name: str) -> list[str]:
    """PEFT wraps one network, so a name has no component; a second text encoder needs one to be told from the first."""
    bare, full = inner_names(component, name), _dotted(component, name)
    return [*full, *bare] if component == "text_encoder_2" else [*bare, *full]


def _old(component: str, name: str) -> Iterator[str]:
    projections = OLD_ATTENTION if component == "unet" else OLD_SELF_ATTENTION
    for projection, old in projections.items():
        if name.endswith(f".{projection}"):
            place = name.removesuffix(f".{projection}")
            infix = ".processor" if component == "unet" else ""
            yield f"{component}.{place}{infix}.{old}"
            if component == "unet":
                yield f"{place}.processor.{old}"
    for stem in _dotted(component, name):
        yield f"{stem}.lora"
        yield f"{stem}.lora_linear_layer"

"""How each layout spells the name of a module: a function from the module table to keys, used forward only."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from formats.architecture import Architecture
from formats.norms import norm_widths
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
    ONETRAINER = "onetrainer"
    """`lora_unet.down_blocks.0....lora_down.weight`, `unet.input_blocks.4.1...`, `clip_l...`: kohya's ends, dotted."""
    COMFY = "comfy"
    """`diffusion_model.input_blocks.4.1....lora_up.weight`, `text_encoders.clip_l...`: the original names, dotted."""
    LYCORIS = "lycoris"
    """`lycoris_down_blocks_0_...`: diffusers names, flattened, under the prefix of the LyCORIS library itself."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A module and the layout in which a stem (a key without its last part) spells it. `shape` is its weight's."""

    layout: Layout
    module: str
    shape: tuple[int, ...]


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

OMI_PREFIXES: Mapping[str, str] = {"unet": "unet", "text_encoder": "clip_l", "text_encoder_2": "clip_g"}
"""How OneTrainer's saver for the Open Model Initiative calls the components."""

OPENCLIP_H_WIDTH = 1024
"""The width of SD-2's text encoder, which ComfyUI calls clip_h."""

KOHYA_OFT = "oft_unet_"
"""What kohya's own OFT writes in place of `lora_unet_`."""

KOHYA_BEGINNINGS = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", KOHYA_OFT)

BEGINNINGS: Mapping[Layout, tuple[str, ...]] = {
    Layout.KOHYA: KOHYA_BEGINNINGS,
    Layout.KOHYA_SGM: KOHYA_BEGINNINGS,
    Layout.PEFT: ("base_model.model.",),
    Layout.ONETRAINER: ("lora_unet.", "lora_te.", "lora_te1.", "lora_te2.", "unet.", "clip_l.", "clip_g."),
    Layout.COMFY: ("diffusion_model.", "text_encoders."),
    Layout.LYCORIS: ("lycoris_",),
}
"""How every stem of a layout begins; the two of diffusers are tried on anything that begins in no other way."""

_BEGINNING_LENGTH = max(len(beginning) for beginnings in BEGINNINGS.values() for beginning in beginnings)


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
        case Layout.ONETRAINER:
            return tuple(_onetrainer(component, name, architecture))
        case Layout.COMFY:
            return tuple(_comfy(component, name, architecture))
        case Layout.LYCORIS:
            return tuple(f"lycoris_{stem.replace('.', '_')}" for stem in _wrapped(component, name)[:1])


def stem_index(architecture: Architecture, layout: Layout) -> Mapping[str, tuple[Spelling, ...]]:
    """Every stem of `layout`, with the modules it spells: more than one only where it names no component.

    The normalisations are among the modules, though the table does not list them.
    """
    shapes = {module: spec.shape for module, spec in architecture.modules.items()}
    shapes |= {norm: (width,) for norm, width in norm_widths(architecture).items()}
    index: dict[str, tuple[Spelling, ...]] = {}
    for module, shape in shapes.items():
        for stem in stems(layout, module, architecture):
            index[stem] = (*index.get(stem, ()), Spelling(layout, module, shape))
    return index


def layouts_of(stems: Iterable[str]) -> tuple[Layout, ...]:
    """The layouts in which any of `stems` can be written, by how they begin."""
    beginnings = {stem[:_BEGINNING_LENGTH] for stem in stems}
    possible = {
        layout for layout, known in BEGINNINGS.items() if any(beginning.startswith(known) for beginning in beginnings)
    }
    marked = tuple(beginning for layout in BEGINNINGS for beginning in BEGINNINGS[layout] if beginning != "unet.")
    if not all(beginning.startswith(marked) for beginning in beginnings):
        possible |= {Layout.DIFFUSERS, Layout.DIFFUSERS_OLD}
    return tuple(layout for layout in Layout if layout in possible)


def _flat(component: str, name: str, architecture: Architecture) -> str:
    return f"{_prefix(component, architecture)}_{name.replace('.', '_')}"


def _prefix(component: str, architecture: Architecture) -> str:
    if component == "text_encoder" and "text_encoder_2" in _components(architecture):
        return "lora_te1"
    return KOHYA_PREFIXES[component]


@lru_cache(maxsize=64)
def _components(architecture: Architecture) -> tuple[str, ...]:
    return architecture.components


@lru_cache(maxsize=64)
def _blocks(architecture: Architecture) -> tuple[int, frozenset[int]]:
    return layers_per_block(architecture.modules), up_blocks_with_attention(architecture.modules)


def _sgm(name: str, architecture: Architecture) -> str | None:
    return sgm_name(name, *_blocks(architecture))


def _onetrainer(component: str, name: str, architecture: Architecture) -> Iterator[str]:
    yield f"{_prefix(component, architecture)}.{name}"
    original = _sgm(name, architecture) if component == "unet" else name
    if original is not None:
        yield f"{OMI_PREFIXES[component]}.{original}"


def _comfy(component: str, name: str, architecture: Architecture) -> Iterator[str]:
    if component == "unet":
        original = _sgm(name, architecture)
        if original is not None:
            yield f"diffusion_model.{original}"
    else:
        yield f"text_encoders.{_clip(component, architecture)}.transformer.{name}"


def _clip(component: str, architecture: Architecture) -> str:
    if component == "text_encoder_2":
        return "clip_g"
    embedding = architecture.modules.get("text_encoder.text_model.embeddings.token_embedding")
    return "clip_h" if embedding is not None and embedding.shape[1] == OPENCLIP_H_WIDTH else "clip_l"


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

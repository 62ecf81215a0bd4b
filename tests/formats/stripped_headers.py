"""Writes tests/formats/stripped/*.json.gz: headers of weight files of every kind without a single weight.

    python tests/formats/stripped_headers.py [FOLDER]

Module names and shapes come from the networks themselves, on torch's meta device; keys are spelled as the tools that
write such files spell them, by the rules below and not by those of `formats`; PEFT spells its own. Each file holds
metadata, the dtype, {key: shape} and what identification has to say. The output is the same bytes each time.
"""

import gzip
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import peft
import torch
from diffusers import UNet2DConditionModel
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "stripped"

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Spell = Callable[[str], str]


@dataclass(frozen=True)
class Case:
    """One stripped header. `expected` maps fields of an identification, or `family`, `adapter`..., to their values."""

    name: str
    tensors: Shapes
    expected: dict[str, Any]
    metadata: dict[str, str] = field(default_factory=dict)
    dtype: str = "F16"

    def document(self) -> bytes:
        """The file's content."""
        tensors = {key: list(shape) for key, shape in self.tensors.items()}
        text = {"expected": self.expected, "dtype": self.dtype, "metadata": self.metadata, "tensors": tensors}
        return gzip.compress((json.dumps(text, separators=(",", ":")) + "\n").encode(), mtime=0)


@cache
def table_script() -> ModuleType:
    """scripts/architecture_tables.py, for the configurations of the networks."""
    spec = importlib.util.spec_from_file_location("architecture_tables", ROOT / "scripts" / "architecture_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def unet(family: str, **changes: Any) -> nn.Module:
    """The U-Net of a family without storage."""
    with torch.device("meta"):
        return UNet2DConditionModel(**{**table_script().UNETS[family], **changes})


@cache
def weights(family: str) -> Shapes:
    """Module -> shape of the weight, of the U-Net's linear layers and convolutions."""
    kinds = nn.Linear | nn.Conv2d
    return {n: tuple(m.weight.shape) for n, m in unet(family).named_modules() if isinstance(m, kinds)}


@cache
def text_weights(family: str, component: str) -> Shapes:
    """Module -> shape of the weight, of a text encoder's linear layers, named from `text_model.` on."""
    with torch.device("meta"):
        network = table_script().text_encoders(family)[component]
    found = {n: tuple(m.weight.shape) for n, m in network.named_modules() if isinstance(m, nn.Linear)}
    return {n if n.startswith("text_") else f"text_model.{n}": shape for n, shape in found.items()}


# How the original code names the parts of a U-Net (kohya's make_unet_conversion_map)


def original(name: str, upsampler_column: int) -> str:
    """The original code's name of a diffusers module; `upsampler_column` is that of the first up block."""
    places = {"conv_in.": "input_blocks.0.0.", "conv_out.": "out.2.", "conv_norm_out.": "out.0."}
    places |= {f"time_embedding.linear_{i}.": f"time_embed.{2 * i - 2}." for i in (1, 2)}
    places |= {f"add_embedding.linear_{i}.": f"label_emb.0.{2 * i - 2}." for i in (1, 2)}
    places |= {"mid_block.attentions.0.": "middle_block.1."}
    places |= {f"mid_block.resnets.{j}.": f"middle_block.{2 * j}." for j in range(2)}
    for i in range(4):
        places[f"down_blocks.{i}.downsamplers.0.conv."] = f"input_blocks.{3 * (i + 1)}.0.op."
        column = upsampler_column if i == 0 else 2
        places[f"up_blocks.{i}.upsamplers.0."] = f"output_blocks.{3 * i + 2}.{column}."
        for j in range(3):
            places[f"down_blocks.{i}.resnets.{j}."] = f"input_blocks.{3 * i + j + 1}.0."
            places[f"down_blocks.{i}.attentions.{j}."] = f"input_blocks.{3 * i + j + 1}.1."
            places[f"up_blocks.{i}.resnets.{j}."] = f"output_blocks.{3 * i + j}.0."
            places[f"up_blocks.{i}.attentions.{j}."] = f"output_blocks.{3 * i + j}.1."
    inside = {"norm1.": "in_layers.0.", "conv1.": "in_layers.2.", "norm2.": "out_layers.0.", "conv2.": "out_layers.3."}
    inside |= {"time_emb_proj.": "emb_layers.1.", "conv_shortcut.": "skip_connection."}
    dotted = f"{name}."
    place = next(place for place in places if dotted.startswith(place))
    rest = dotted[len(place) :]
    rest = inside.get(rest, rest) if ".resnets." in place else rest
    return (places[place] + rest).rstrip(".")


def original_of(family: str) -> Spell:
    """`original` for one family."""
    column = 1 if family in ("sd15", "sd21", "sdxl-refiner") else 2
    return lambda name: original(name, column)


def flat(prefix: str, rename: Spell = str) -> Spell:
    """kohya's spelling: everything in one word after the prefix."""
    return lambda name: f"{prefix}_{rename(name).replace('.', '_')}"


def dotted(prefix: str, rename: Spell = str) -> Spell:
    """A dotted spelling."""
    return lambda name: f"{prefix}.{rename(name)}"


# What each kind of adapter stores for a weight


def lora(shape: Shape, rank: int = 16, alpha: bool = True) -> Shapes:
    """down (r, in, k, k), up (out, r, 1, 1)."""
    out, inside, *kernel = shape
    ones = [1 for _ in kernel]
    pieces = {"lora_down.weight": (rank, inside, *kernel), "lora_up.weight": (out, rank, *ones)}
    return pieces | ({"alpha": ()} if alpha else {})


def tucker(shape: Shape, rank: int = 8) -> Shapes:
    """down (r, in, 1, 1), mid (r, r, k, k), up (out, r, 1, 1) for a convolution."""
    out, inside, *kernel = shape
    if len(kernel) < 2 or kernel[0] == 1:
        return lora(shape, rank)
    down, up = (rank, inside, 1, 1), (out, rank, 1, 1)
    return {"lora_down.weight": down, "lora_mid.weight": (rank, rank, *kernel), "lora_up.weight": up, "alpha": ()}


def loha(shape: Shape, rank: int = 8) -> Shapes:
    """w1_a (out, r), w1_b (r, in k k), w2 alike."""
    out, inside, *kernel = shape
    for size in kernel:
        inside *= size
    return {f"hada_w{i}_{s}": (out, rank) if s == "a" else (rank, inside) for i in (1, 2) for s in "ab"} | {"alpha": ()}


def loha_tucker(shape: Shape, rank: int = 8) -> Shapes:
    """t (r, r, k, k), w_a (r, out), w_b (r, in) for a convolution."""
    out, inside, *kernel = shape
    if len(kernel) < 2 or kernel[0] == 1:
        return loha(shape, rank)
    pairs = {f"hada_w{i}_{s}": (rank, out if s == "a" else inside) for i in (1, 2) for s in "ab"}
    return {"hada_t1": (rank, rank, *kernel), "hada_t2": (rank, rank, *kernel), **pairs, "alpha": ()}


def lokr(first: str, second: str, factor: int = 8, rank: int = 4) -> Callable[[Shape], Shapes]:
    """w1 (f, f) and w2 (out / f, in / f, k, k), each whole or factored; `second` may be a Tucker core."""

    def pieces(shape: Shape) -> Shapes:
        out, inside, *kernel = shape
        rows, columns = out // factor, inside // factor
        made: Shapes = {"lokr_w1": (factor, factor)}
        if first == "factored":
            made = {"lokr_w1_a": (factor, 2), "lokr_w1_b": (2, factor)}
        if second == "whole":
            return made | {"lokr_w2": (rows, columns, *kernel), "alpha": ()}
        if second == "tucker" and len(kernel) == 2 and kernel[0] > 1:
            pair = {"lokr_w2_a": (rank, rows), "lokr_w2_b": (rank, columns)}
            return made | {"lokr_t2": (rank, rank, *kernel), **pair, "alpha": ()}
        for size in kernel:
            columns *= size
        return made | {"lokr_w2_a": (rows, rank), "lokr_w2_b": (rank, columns), "alpha": ()}

    return pieces


def glora(shape: Shape, rank: int = 8) -> Shapes:
    """A = a1 a2 of (in, in), B = b1 b2 of (out, in)."""
    out, inside = shape[:2]
    a, b = (
        {"a1.weight": (inside, rank), "a2.weight": (rank, inside)},
        {"b1.weight": (out, rank), "b2.weight": (rank, inside)},
    )
    return a | b | {"alpha": ()}


def first_glora(shape: Shape, rank: int = 8) -> Shapes:
    """The products the other way round, as the first version wrote them."""
    out, inside = shape[:2]
    a, b = (
        {"a1.weight": (rank, inside), "a2.weight": (inside, rank)},
        {"b1.weight": (rank, inside), "b2.weight": (out, rank)},
    )
    return a | b | {"alpha": ()}


def oft(shape: Shape, blocks: int = 4) -> Shapes:
    """Rotations of the outputs, in blocks; alpha is the constraint."""
    return {"oft_blocks": (blocks, shape[0] // blocks, shape[0] // blocks), "alpha": ()}


def boft(shape: Shape, blocks: int = 8) -> Shapes:
    """Rotations in a butterfly of three steps."""
    size = shape[0] // blocks
    return {"oft_blocks": (3, blocks, size, size), "rescale": (shape[0], *(1 for _ in shape[1:])), "alpha": ()}


def ia3(shape: Shape) -> Shapes:
    """One factor for each output."""
    return {"weight": (shape[0], *(1 for _ in shape[1:])), "on_input": ()}


def full(shape: Shape) -> Shapes:
    """The whole difference."""
    return {"diff": shape, "diff_b": (shape[0],)}


def dora(shape: Shape) -> Shapes:
    """LoRA with a magnitude for each output."""
    return lora(shape) | {"dora_scale": (shape[0], *(1 for _ in shape[1:]))}


def dora_by_input(shape: Shape) -> Shapes:
    """LoKr with a magnitude for each input, as LyCORIS has it."""
    return lokr("whole", "factored")(shape) | {"dora_scale": (1, *shape[1:2], *(1 for _ in shape[2:]))}


def spelled(modules: Mapping[str, Shape], spell: Spell, pieces: Callable[[Shape], Shapes]) -> Shapes:
    """The keys of an adapter of `modules`."""
    return {f"{spell(name)}.{end}": shape for name, full in modules.items() for end, shape in pieces(full).items()}


def in_peft(keys: Shapes) -> Shapes:
    """The same factors under diffusers' new ends, without alphas."""
    ends = {".lora_down.weight": ".lora_A.weight", ".lora_up.weight": ".lora_B.weight"}
    renamed = {key: shape for key, shape in keys.items() if not key.endswith(".alpha")}
    for old, new in ends.items():
        renamed = {key.replace(old, new): shape for key, shape in renamed.items()}
    return renamed


# Which modules people train


def some(found: Shapes, *parts: str, without: str = "\0") -> Shapes:
    """The modules whose name contains one of `parts`."""
    return {n: s for n, s in found.items() if any(part in n for part in parts) and without not in n}


def attention(family: str) -> Shapes:
    """What kohya's scripts train by default: the transformer blocks and their projections."""
    return some(weights(family), ".attentions.")


def block(family: str) -> Shapes:
    """One transformer block and one ResNet: enough to tell a kind."""
    at = "up_blocks.1.attentions.1.transformer_blocks.0" if family != "sdxl" else "up_blocks.0.attentions.1."
    return some(weights(family), at, "up_blocks.1.resnets.1.")


def lcm(family: str) -> Shapes:
    """The targets of the LCM-LoRA scripts."""
    targets = ("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "conv1", "conv2")
    targets += ("conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj")
    return {n: s for n, s in weights(family).items() if n.endswith(tuple(f".{target}" for target in targets))}


def text(family: str, component: str, layers: int = 2) -> Shapes:
    """The first layers of a text encoder."""
    return some(text_weights(family, component), *(f"layers.{i}." for i in range(layers)))


SAME_ROWS = ("oft", "boft", "ia3")
"""Kinds that tell nothing of a weight but its outputs, in which SD-1.5's and SD-2.1's U-Nets agree."""

SD_SCRIPTS = {"ss_network_module": "networks.lora", "ss_network_dim": "16", "ss_network_alpha": "8"}


def vector(family: str, adapter: str, layout: str, **more: Any) -> dict[str, Any]:
    """What is expected of an adapter whose table is known."""
    return {"kind": "vector", "family": family, "adapter": adapter, "layout": layout, "architecture": family, **more}


def by_layout() -> Iterator[Case]:
    """LoRA in every layout, for the families that it is written for."""
    sgm = original_of("sdxl")
    te1, te2 = text("sdxl", "text_encoder", 12), text("sdxl", "text_encoder_2", 32)
    encoders = spelled(te1, flat("lora_te1"), lora) | spelled(te2, flat("lora_te2"), lora)
    sdxl = {**SD_SCRIPTS, "ss_base_model_version": "sdxl_base_v1-0"}
    keys = spelled(attention("sdxl"), flat("lora_unet", sgm), lora) | encoders
    yield Case("sdxl-kohya-sgm", keys, vector("sdxl", "lora", "kohya-sgm", rank=16, broken=None), sdxl)
    for family in ("ssd1b", "vega", "sdxl-refiner"):
        keys = spelled(attention(family), flat("lora_unet", original_of(family)), lora)
        yield Case(f"{family}-kohya-sgm", keys, vector(family, "lora", "kohya-sgm"))
    for family in ("sd15", "sd21"):
        keys = spelled(attention(family), flat("lora_unet"), lora)
        keys |= spelled(text(family, "text_encoder", 12), flat("lora_te"), lora)
        yield Case(f"{family}-kohya", keys, vector(family, "lora", "kohya", rank=16))
    for family in ("sd15", "ssd1b", "sdxl", "vega"):
        keys = spelled(lcm(family), flat("lora_unet"), lambda shape: lora(shape, 64))
        yield Case(f"{family}-lcm-lora", keys, vector(family, "locon", "kohya", rank=64))
    keys = spelled(attention("sdxl"), flat("lora_unet"), lora) | {"bundle_emb.cat.clip_l": (4, 768)}
    ot = {"ot_branch": "master", "ot_revision": "0f1e2d3"}
    yield Case("sdxl-onetrainer", keys, vector("sdxl", "lora", "onetrainer"), ot)
    keys = spelled(attention("sdxl"), dotted("unet", sgm), lora) | spelled(te1, dotted("clip_l"), lora)
    yield Case("sdxl-onetrainer-omi", keys, vector("sdxl", "lora", "onetrainer"))
    keys = spelled(attention("sd15"), dotted("unet"), lora)
    yield Case("sd15-dotted-hybrid", keys, vector("sd15", "lora", "onetrainer"))
    keys = spelled(attention("sdxl"), dotted("diffusion_model", sgm), lora)
    keys |= spelled(te2, dotted("text_encoders.clip_g.transformer"), lora)
    yield Case("sdxl-comfy", keys, vector("sdxl", "lora", "comfy"))
    keys = spelled(attention("sd15"), flat("lycoris"), lokr("whole", "factored"))
    yield Case("sd15-lycoris", keys, vector("sd15", "lokr", "lycoris"))
    yield from in_diffusers()


def in_diffusers() -> Iterator[Case]:
    """LoRA as diffusers and PEFT write it."""
    keys = in_peft(spelled(some(weights("sdxl"), "to_"), dotted("unet"), lora))
    keys |= in_peft(spelled(some(text("sdxl", "text_encoder", 12), "_proj"), dotted("text_encoder"), lora))
    keys |= in_peft(spelled(some(text("sdxl", "text_encoder_2", 32), "_proj"), dotted("text_encoder_2"), lora))
    config = json.dumps({"unet.r": 16, "unet.lora_alpha": 16})
    yield Case("sdxl-diffusers", keys, vector("sdxl", "lora", "diffusers"), {"lora_adapter_metadata": config})
    keys = in_peft(spelled(some(weights("sd21"), "to_"), dotted("base_model.model"), lora))
    yield Case("sd21-peft", keys, vector("sd21", "lora", "peft"))
    keys = {}
    for name, shape in some(weights("sd15"), ".attn").items():
        place, _, projection = name.replace(".to_out.0", ".to_out").rpartition(".")
        if projection.startswith("to_"):
            stem = f"unet.{place}.processor.{projection}_lora"
            keys |= {f"{stem}.down.weight": (4, shape[1]), f"{stem}.up.weight": (shape[0], 4)}
    yield Case("sd15-diffusers-old", keys, vector("sd15", "lora", "diffusers-old", rank=4))


def by_kind() -> Iterator[Case]:
    """Every kind of adapter of one block, in kohya's names."""
    linear = {n: s for n, s in block("sd15").items() if len(s) == 2}
    mixes = [("whole", "whole"), ("whole", "factored"), ("factored", "whole"), ("factored", "factored")]
    kinds: dict[str, tuple[str, Shapes, Callable[[Shape], Shapes]]] = {
        "locon": ("locon", block("sd15"), lora),
        "tucker": ("locon", block("sd15"), tucker),
        "loha": ("loha", block("sd15"), loha),
        "loha-tucker": ("loha", block("sd15"), loha_tucker),
        **{f"lokr-{a}-{b}": ("lokr", block("sd15"), lokr(a, b)) for a, b in mixes},
        "lokr-tucker": ("lokr", block("sd15"), lokr("factored", "tucker")),
        "glora": ("glora", linear, glora),
        "glora-first": ("glora", linear, first_glora),
        "oft": ("oft", block("sd15"), oft),
        "boft": ("boft", block("sd15"), boft),
        "ia3": ("ia3", linear, ia3),
        "full": ("full", block("sd15"), full),
        "dora": ("locon+dora", block("sd15"), dora),
        "dora-by-input": ("lokr+dora", linear, dora_by_input),
    }
    te = text("sd15", "text_encoder", 1)
    for name, (adapter, modules, pieces) in kinds.items():
        keys = spelled(modules, flat("lora_unet"), pieces)
        if adapter in SAME_ROWS:
            unknown = {**vector("unknown", adapter, "kohya"), "architecture": None}
            yield Case(f"sd15-or-sd21-{name}", keys, unknown)
            keys |= spelled(te, flat("lora_te"), pieces)
        yield Case(f"sd15-{name}", keys, vector("sd15", adapter, "kohya"))
    te = text("sdxl", "text_encoder", 1)
    for a, b in mixes:
        keys = spelled(block("sdxl"), flat("lora_unet", original_of("sdxl")), lokr(a, b))
        keys |= spelled(te, flat("lora_te1"), lokr(a, b))
        yield Case(f"sdxl-lokr-{a}-{b}", keys, vector("sdxl", "lokr", "kohya-sgm"))
    norms = {
        n: tuple(m.weight.shape) for n, m in unet("sd15").named_modules() if isinstance(m, nn.GroupNorm | nn.LayerNorm)
    }
    both = spelled(norms, flat("lora_unet"), lambda shape: {"w_norm": shape, "b_norm": shape})
    keys = spelled(attention("sd15"), flat("lora_unet"), lora) | both
    yield Case("sd15-lora-with-norms", keys, vector("sd15", "lora", "kohya"))


def by_peft() -> Iterator[Case]:
    """PEFT's own kinds, as PEFT itself spells them."""
    targets = ["to_q", "to_k", "to_v", "to_out.0"]
    configs: dict[str, tuple[str, Any]] = {
        "lora-dora": ("lora+dora", peft.LoraConfig(r=4, target_modules=targets, use_dora=True)),
        "loha": ("loha", peft.LoHaConfig(r=4, target_modules=[*targets, "conv1"])),
        "lokr": ("lokr", peft.LoKrConfig(r=4, target_modules=[*targets, "conv1"])),
        "oft": ("oft", peft.OFTConfig(r=0, oft_block_size=32, target_modules=targets)),
        "ia3": ("ia3", peft.IA3Config(target_modules=targets, feedforward_modules=[])),
    }
    for name, (adapter, config) in configs.items():
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = UNet2DConditionModel(**table_script().UNETS["sd15"])
            state = peft.get_peft_model_state_dict(peft.get_peft_model(network, config))
        keys = {key: tuple(tensor.shape) for key, tensor in state.items()}
        expected = vector("sd15", adapter, "peft")
        if adapter == "ia3":
            expected |= {"family": "unknown", "architecture": None}
        yield Case(f"sd15-peft-{name}", keys, expected, dtype="F32")


def undecided() -> Iterator[Case]:
    """Adapters that say less, or say it wrongly."""
    te = text("sdxl", "text_encoder", 12)
    unknown = {"kind": "vector", "family": "unknown", "architecture": None}
    yield Case("clip-l-alone", spelled(te, flat("lora_te1"), lora), {**unknown, "adapter": "lora"})
    said = {"ss_base_model_version": "sdxl_base_v1-0"}
    keys = spelled(te, flat("lora_te1"), lora)
    yield Case("clip-l-alone-of-sdxl", keys, vector("sdxl", "lora", "kohya"), said)
    first, *_ = some(weights("sd15"), "time_emb_proj").items()
    keys = spelled(dict([first]), flat("lora_unet"), lora) | spelled(attention("sd15"), flat("lora_unet"), lora)
    yield Case("sd15-time-embedding-first", keys, vector("sd15", "locon" if len(first[1]) > 2 else "lora", "kohya"))
    keys = spelled(attention("sd15"), flat("lora_unet"), lora)
    torn = {key: shape for key, shape in keys.items() if "up_blocks_3_attentions_2_proj_out.lora_up" not in key}
    expected = {"kind": "vector", "family": "sd15", "architecture": None, "broken": "down and up do not come as a pair"}
    yield Case("sd15-torn-pair", torn, expected)
    keys["lora_unet_mid_block_attentions_0_proj_in.lora_down.weight"] = (16, 640, 1, 1)
    yield Case("sd15-wrong-shape", keys, {**expected, "broken": "expected [1280, 1280, 1, 1], got [1280, 640, 1, 1]"})
    inpaint = spelled({**attention("sd15"), "conv_in": (320, 9, 3, 3)}, flat("lora_unet"), lora)
    expected = {"kind": "vector", "family": "sd15", "variant": "inpaint", "architecture": None, "broken": None}
    yield Case("sd15-inpaint-lora", inpaint, expected)
    koala = some(attention("sdxl"), "down_blocks.1.attentions.0", "down_blocks.2.attentions.0")
    koala = {n: s for n, s in koala.items() if not any(f"transformer_blocks.{i}." in n for i in range(5, 10))}
    yield Case("koala-lora", spelled(koala, flat("lora_unet"), lora), {"kind": "vector", "surest": 0.7})
    flux = {f"transformer.single_transformer_blocks.{i}.attn.to_q.lora_A.weight": (16, 3072) for i in range(4)}
    flux |= {key.replace("lora_A", "lora_B"): (3072, 16) for key in flux}
    yield Case("flux-lora", flux, {"kind": "unknown", "family": "unknown", "adapter": "lora"})


def clip_l(prefix: str) -> Shapes:
    """The first text encoder of a checkpoint, in transformers' names."""
    inner = {f"{n}.weight": s for n, s in text_weights("sd15", "text_encoder").items()}
    embeddings = {"token_embedding": (49408, 768), "position_embedding": (77, 768)}
    inner |= {f"text_model.embeddings.{name}.weight": shape for name, shape in embeddings.items()}
    return {f"{prefix}.transformer.{name}": shape for name, shape in inner.items()}


def openclip(prefix: str, width: int, layers: int) -> Shapes:
    """An OpenCLIP text encoder of a checkpoint."""
    keys: Shapes = {"token_embedding.weight": (49408, width), "positional_embedding": (77, width)}
    for i in range(layers):
        at = f"transformer.resblocks.{i}"
        keys |= {f"{at}.attn.in_proj_weight": (3 * width, width), f"{at}.attn.out_proj.weight": (width, width)}
        keys |= {f"{at}.mlp.c_fc.weight": (4 * width, width), f"{at}.mlp.c_proj.weight": (width, 4 * width)}
    return {f"{prefix}.model.{name}": shape for name, shape in keys.items()}


VAE = {"first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3), "first_stage_model.quant_conv.weight": (8, 8, 1, 1)}
ENCODERS: dict[str, Shapes] = {
    "sd15": clip_l("cond_stage_model"),
    "sd21": openclip("cond_stage_model", 1024, 24),
    "sdxl": clip_l("conditioner.embedders.0") | openclip("conditioner.embedders.1", 1280, 32),
    "sdxl-refiner": openclip("conditioner.embedders.0", 1280, 32),
}


def parameters(network: nn.Module, rename: Spell) -> Shapes:
    """Every parameter of `network`, biases and normalisations included."""
    split = ((*name.rpartition(".")[::2], tuple(tensor.shape)) for name, tensor in network.state_dict().items())
    return {f"{rename(module)}.{end}": shape for module, end, shape in split}


def checkpoint(family: str, network: nn.Module) -> Shapes:
    """A whole checkpoint in one file."""
    encoders = ENCODERS.get(family, ENCODERS["sdxl"])
    return parameters(network, dotted("model.diffusion_model", original_of(family))) | encoders | VAE


def bases() -> Iterator[Case]:
    """Whole models in one file."""

    def base(family: str, **more: Any) -> dict[str, Any]:
        return {
            "kind": "base",
            "family": family,
            "adapter": "none",
            "layout": "checkpoint",
            "architecture": family,
            **more,
        }

    for family in ("sd15", "sd21", "sdxl", "sdxl-refiner", "ssd1b", "vega"):
        yield Case(
            f"{family}-checkpoint", checkpoint(family, unet(family)), base(family, variant="standard", broken=None)
        )
    for family, variant, channels in (
        ("sd15", "inpaint", 9),
        ("sd21", "inpaint", 9),
        ("sd21", "depth", 5),
        ("sdxl", "inpaint", 9),
    ):
        keys = checkpoint(family, unet(family, in_channels=channels))
        yield Case(f"{family}-{variant}-checkpoint", keys, base(family, variant=variant, broken=None))
    keys = checkpoint("sdxl", unet("sdxl")) | {"v_pred": (), "ztsnr": ()}
    yield Case("sdxl-velocity-checkpoint", keys, base("sdxl", prediction_type="v_prediction"))
    keys = {k: s for k, s in checkpoint("sd15", unet("sd15")).items() if "output_blocks.11." not in k}
    yield Case("sd15-cut-checkpoint", keys, base("sd15", architecture=None, broken="it lacks 16 of"))
    keys = checkpoint("sd15", unet("sd15")) | spelled(block("sd15"), flat("lora_unet"), lora)
    yield Case("sd15-checkpoint-with-lora-keys", keys, base("sd15", variant="standard", warned="left in it"))
    lcm_unet = parameters(unet("sd15", time_cond_proj_dim=256), str)
    expected = base("sd15", variant="lcm", layout="diffusers", warned="a U-Net alone")
    yield Case("sd15-lcm-unet", lcm_unet, expected, dtype="F32")
    yield Case("sdxl-unet-alone", parameters(unet("sdxl"), original_of("sdxl")), base("sdxl", warned="no text encoder"))
    control = {k: s for k, s in lcm_unet.items() if not k.startswith("up_blocks.")}
    yield Case("controlnet", control, {"kind": "unknown", "family": "unknown"})


def cases() -> Iterator[Case]:
    """The corpus."""
    for part in (by_layout, by_kind, by_peft, undecided, bases):
        yield from part()


def write_headers(folder: Path, made: Iterable[Case]) -> None:
    """One file a case."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in made:
        (folder / f"{case.name}.json.gz").write_bytes(case.document())


if __name__ == "__main__":
    torch.manual_seed(0)
    write_headers(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER, cases())

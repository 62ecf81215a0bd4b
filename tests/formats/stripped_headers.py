"""Writes tests/formats/stripped/*.json.gz: headers of weight files of every kind without a single weight.

    python tests/formats/stripped_headers.py [FOLDER]

Module names and shapes come from the networks themselves, on torch's meta device; keys are spelled as the tools that
write such files spell them, by the rules below and not by those of `formats`; PEFT spells its own. Each file holds
metadata, the dtype, {key: shape} and what identification has to say. The output is the same bytes each time.
"""

import gzip
import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import peft
import torch
from diffusers import UNet2DConditionModel
from stripped_networks import (
    Shape,
    Shapes,
    checkpoint,
    dotted,
    flat,
    original_of,
    parameters,
    table_script,
    text_weights,
    unet,
    weights,
)
from stripped_pieces import (
    boft,
    dora,
    dora_by_input,
    first_glora,
    full,
    glora,
    ia3,
    in_peft,
    loha,
    loha_tucker,
    lokr,
    lora,
    oft,
    oft_diag,
    peft_boft,
    spelled,
    tucker,
)
from torch import nn

FOLDER = Path(__file__).resolve().parent / "stripped"


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
        "oft-diag": ("oft", block("sd15"), oft_diag),
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
    keys = spelled(block("sdxl"), flat("oft_unet", original_of("sdxl")), oft)
    yield Case("sdxl-kohya-oft", keys, vector("sdxl", "oft", "kohya-sgm", alpha=None))
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
    keys = spelled(some(weights("sd15"), ".attn"), dotted("base_model.model"), peft_boft)
    yield Case("sd15-peft-boft", keys, vector("sd15", "boft", "peft", rank=None), dtype="F32")


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
    lcm = checkpoint("sd15", unet("sd15", time_cond_proj_dim=256))
    yield Case("sd15-lcm-checkpoint", lcm, base("sd15", variant="lcm", broken=None))
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

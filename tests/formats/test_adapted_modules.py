"""Every module of every adapter kind is found in a file, with every key accounted for."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from formats import Layout, ModuleSpec, UnknownModule, architecture, identify, locate, read_header, spec_of
from formats.adapted_modules import is_ia3_of_inputs
from formats.role_keys import ROLE_ENDS, role_key

CORPUS = sorted((Path(__file__).resolve().parent / "stripped").glob("*.json.gz"))
STEM, MODULE = "lora_unet_mid_block_resnets_0_time_emb_proj", "unet.mid_block.resnets.0.time_emb_proj"
SD15 = architecture("sd15")


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_what_is_identified_is_located_whole(path: Path, write_stripped: Callable) -> None:
    case = json.loads(gzip.decompress(path.read_bytes()))
    shapes = {key: tuple(shape) for key, shape in case["tensors"].items()}
    file = write_stripped(shapes, dtype=case["dtype"], metadata=case["metadata"])
    found = identify(file, hashes=False)
    if found.kind != "vector" or found.architecture is None:
        return
    located = locate(read_header(file), architecture(found.architecture))
    assert located.misfits == ()
    assert [key for key in located.unmatched if not key.startswith("bundle_emb.")] == []
    kind = found.adapter.value.removesuffix("+dora").replace("locon", "lora")
    assert {one.kind for one in located.modules} <= {kind, "norm"}
    assert {("magnitude" in one.keys) for one in located.modules if one.kind == kind} == {
        "+dora" in found.adapter.value
    }


def located(shapes: dict, write_file: Callable, config: dict | None = None):
    return locate(read_header(write_file(shapes)), SD15, config)


def test_a_weight_and_its_bias_are_two_modules(write_file: Callable) -> None:
    pair = {f"{STEM}.lora_down.weight": (4, 1280), f"{STEM}.lora_up.weight": (1280, 4), f"{STEM}.alpha": ()}
    weight, bias = located({**pair, f"{STEM}.diff_b": (1280,)}, write_file).modules
    assert (weight.module, weight.kind, dict(weight.keys)) == (
        MODULE,
        "lora",
        {"down": f"{STEM}.lora_down.weight", "up": f"{STEM}.lora_up.weight", "alpha": f"{STEM}.alpha"},
    )
    assert (bias.module, bias.kind, dict(bias.keys), bias.dim) == (
        f"{MODULE}.bias",
        "full",
        {"diff_b": f"{STEM}.diff_b"},
        None,
    )


def test_the_bias_of_pefts_up_factor_has_the_scale_of_its_pair(write_file: Callable) -> None:
    stem = "base_model.model.mid_block.resnets.0.time_emb_proj"
    shapes = {f"{stem}.lora_A.weight": (4, 1280), f"{stem}.lora_B.weight": (1280, 4), f"{stem}.lora_B.bias": (1280,)}
    weight, bias = located(shapes, write_file, {"r": 4, "lora_alpha": 6}).modules
    assert (bias.module, bias.kind, bias.dim, bias.alpha) == (f"{MODULE}.bias", "lora", 4, 6)
    assert (weight.dim, weight.alpha) == (4, 6)


@pytest.mark.parametrize("ends", [("w_norm", "b_norm"), ("diff", "diff_b")])
def test_a_normalisation_is_two_modules(ends: tuple[str, str], write_file: Callable) -> None:
    stem = "lora_unet_mid_block_resnets_0_norm1"
    bias, weight = located({f"{stem}.{end}": (1280,) for end in ends}, write_file).modules
    assert (weight.module, bias.module) == (
        "unet.mid_block.resnets.0.norm1.weight",
        "unet.mid_block.resnets.0.norm1.bias",
    )
    assert weight.kind == bias.kind == ("norm" if ends[0] == "w_norm" else "full")


@pytest.mark.parametrize(
    "pieces",
    [
        {"hada_w1_a": (1280, 4), "hada_w1_b": (4, 1280)},
        {"lokr_w1": (4, 4), "lokr_w2_a": (320, 2), "lokr_w2_b": (2, 320), "lokr_w2": (320, 320)},
        {"a1.weight": (1280, 4), "b1.weight": (1280, 4), "b2.weight": (4, 1280)},
        {"diff": (1280, 1280), "alpha": ()},
        {"diff": (1280, 1280), "set_weight": (1280, 1280)},
        {"diff": (1280, 1280), "dora_scale": (1280, 1)},
        {"lora_down.weight": (4, 1280), "lora_up.weight": (1280, 4), "diff": (1280, 1280)},
        {"lora_down.weight": (4, 1280), "lora_up.weight": (1280, 4), "bias_values": (3,)},
        {"diff_b": (1280,), "b_norm": (1280,)},
        {"dora_scale": (1280, 1)},
    ],
)
def test_pieces_that_make_no_whole_module_are_unmatched(pieces: dict, write_file: Callable) -> None:
    whole = {"lora_unet_conv_in.diff": (320, 4, 3, 3)}
    torn = {f"{STEM}.{end}": shape for end, shape in pieces.items()}
    found = located(whole | torn, write_file)
    assert [one.module for one in found.modules] == ["unet.conv_in"]
    assert set(found.unmatched) == set(torn)


def test_a_whole_lokr_has_the_rank_that_pefts_configuration_gives_it(write_file: Callable) -> None:
    stem = "base_model.model.mid_block.resnets.0.time_emb_proj"
    shapes = {f"{stem}.lokr_w1": (4, 4), f"{stem}.lokr_w2": (320, 320)}
    config = {"peft_type": "LOKR", "r": 8, "alpha": 2, "rank_pattern": {"time_emb_proj": 16}}
    (one,) = located(shapes, write_file, config).modules
    assert (one.dim, one.alpha) == (16, 2)
    (bare,) = located(shapes, write_file).modules
    assert (bare.dim, bare.alpha) == (None, None)


@pytest.mark.parametrize(
    ("shape", "spec", "is_feedforward", "expected"),
    [
        ((1, 8), ModuleSpec("linear", (8, 8)), None, True),
        ((8, 1), ModuleSpec("linear", (8, 8)), None, False),
        ((1, 1), ModuleSpec("linear", (8, 1)), None, True),
        ((1, 4, 1, 1), ModuleSpec("conv", (8, 4, 3, 3)), None, True),
        ((1, 8, 1, 1), ModuleSpec("conv", (8, 4, 3, 3)), None, False),
        ((1, 8, 1, 1), ModuleSpec("conv", (8, 8, 3, 3)), None, None),
        ((1, 8, 1, 1), ModuleSpec("conv", (8, 8, 3, 3)), True, True),
        ((1, 8, 1, 1), ModuleSpec("conv", (8, 8, 3, 3)), False, False),
    ],
)
def test_pefts_ia3_tells_its_axis_by_shape_or_configuration(
    shape: tuple, spec: ModuleSpec, is_feedforward: bool | None, expected: bool | None
) -> None:
    assert is_ia3_of_inputs(shape, spec, is_feedforward) is expected


def test_pefts_ia3_reaches_the_bias_where_there_is_one(write_file: Callable) -> None:
    block = "base_model.model.mid_block.attentions.0.transformer_blocks.0"
    shapes = {f"{block}.attn1.to_k.ia3_l": (1280, 1), f"{block}.attn1.to_out.0.ia3_l": (1280, 1)}
    shapes |= {f"{block}.ff.net.2.ia3_l": (1, 5120)}
    names = [one.module.partition("blocks.0.")[2] for one in located(shapes, write_file).modules]
    assert names == ["attn1.to_k", "attn1.to_out.0", "ff.net.2", "attn1.to_out.0.bias"]


def test_a_bias_and_a_normalisation_have_a_spec() -> None:
    assert spec_of(SD15, "unet.conv_in") == ModuleSpec("conv", (320, 4, 3, 3))
    assert spec_of(SD15, "unet.conv_in.bias") == ModuleSpec("channel", (320,))
    norm = "unet.down_blocks.0.attentions.0.transformer_blocks.0.norm1"
    assert spec_of(SD15, f"{norm}.weight") == spec_of(SD15, f"{norm}.bias") == ModuleSpec("channel", (320,))
    last = "text_encoder.text_model.final_layer_norm.bias"
    assert spec_of(SD15, last) == ModuleSpec("channel", (768,))


@pytest.mark.parametrize(
    "name",
    ["unet.conv_in.weight", "unet.norm9.bias", "unet", "text_encoder.text_model.embeddings.token_embedding.bias"],
)
def test_what_is_no_module_bias_or_normalisation_has_no_spec(name: str) -> None:
    with pytest.raises(UnknownModule, match=r"nor a bias or normalisation\. Check the base"):
        spec_of(SD15, name)


@pytest.mark.parametrize("layout", sorted(ROLE_ENDS))
def test_the_key_that_is_written_for_a_piece_is_read_as_that_piece(layout: Layout, write_file: Callable) -> None:
    keys = {role: role_key(layout, MODULE, role, SD15) for role in ("down", "up", "magnitude")}
    shapes = dict(zip(keys.values(), ((4, 1280), (1280, 4), (1280, 1)), strict=True))
    found = located(shapes, write_file)
    assert found.layout == layout
    assert [dict(one.keys) for one in found.modules] == [keys]


def test_a_layout_that_has_no_name_for_a_module_says_so() -> None:
    with pytest.raises(UnknownModule, match="that comfy can name"):
        role_key(Layout.COMFY, "unet.nowhere.bias", "diff_b", SD15)

"""Five files that a detector of first hits takes for something else, or for nothing."""

from collections.abc import Callable

import pytest

from formats import Layout, architecture, identify

BLOCK = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"


def cross_attention(name: str) -> list[str]:
    return [module for module in architecture(name).modules if module.endswith((".attn2.to_k", ".attn2.to_v"))]


@pytest.mark.parametrize("name", ["sd15", "sd21", "sdxl"])
def test_trap_1_a_file_in_pefts_keys_is_recognised(name: str, write_stripped: Callable, adapter_shapes) -> None:
    table = architecture(name)
    shapes = adapter_shapes(table, cross_attention(name), Layout.DIFFUSERS, 4)
    assert all(key.startswith("unet.") and ".lora_" in key for key in shapes)
    found = identify(write_stripped(shapes), hashes=False)
    assert (found.family.value, found.layout.value, found.adapter.value) == (name, "diffusers", "lora")


@pytest.mark.parametrize(
    "pieces",
    [
        {"lokr_w1": (32, 32), "lokr_w2": (40, 24)},
        {"lokr_w1_a": (32, 4), "lokr_w1_b": (4, 32), "lokr_w2": (40, 24)},
        {"lokr_w1": (32, 32), "lokr_w2_a": (40, 4), "lokr_w2_b": (4, 24)},
        {"lokr_w1_a": (32, 4), "lokr_w1_b": (4, 32), "lokr_w2_a": (40, 4), "lokr_w2_b": (4, 24)},
    ],
    ids=["whole", "first factored", "second factored", "both factored"],
)
def test_trap_2_a_lokr_is_recognised_however_it_is_factored(pieces: dict, write_stripped: Callable) -> None:
    stem = f"lora_unet_{BLOCK.replace('.', '_')}"
    found = identify(write_stripped({f"{stem}.{end}": shape for end, shape in pieces.items()}), hashes=False)
    assert (found.family.value, found.adapter.value, found.broken) == ("sd15", "lokr", None)


def test_trap_3_a_time_embedding_before_the_attention_decides_nothing(write_stripped: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    first = [module for module in table.modules if module.endswith(".time_emb_proj")]
    shapes = adapter_shapes(table, first, Layout.KOHYA) | adapter_shapes(table, cross_attention("sd15"), Layout.KOHYA)
    widths = [shape[1] for key, shape in shapes.items() if key.endswith("lora_down.weight")]
    assert (widths[0], widths[-1]) == (1280, 768)
    for order in (shapes, dict(reversed(shapes.items()))):
        assert identify(write_stripped(order), hashes=False).family.value == "sd15"


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.KOHYA_SGM, Layout.DIFFUSERS])
@pytest.mark.parametrize("name", ["ssd1b", "vega"])
def test_trap_4_a_small_relative_of_sdxl_is_not_called_sdxl(
    name: str, layout: Layout, write_stripped: Callable, adapter_shapes
) -> None:
    table = architecture(name)
    modules = [module for module in table.modules if ".attentions." in module]
    found = identify(write_stripped(adapter_shapes(table, modules, layout)), hashes=False)
    assert (found.family.value, found.architecture) == (name, name)
    assert "cross attention" not in found.family.evidence[0]


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("glora", {"a1.weight": (768, 4), "a2.weight": (4, 768), "b1.weight": (1280, 4), "b2.weight": (4, 768)}),
        ("oft", {"oft_blocks": (4, 320, 320)}),
        ("boft", {"oft_blocks": (2, 8, 160, 160)}),
    ],
)
def test_trap_5_glora_oft_and_boft_are_recognised(kind: str, pieces: dict, write_stripped: Callable) -> None:
    shapes = {f"lora_unet_{BLOCK.replace('.', '_')}.{end}": shape for end, shape in pieces.items()}
    encoder = {
        "glora": {"a1.weight": (768, 4), "a2.weight": (4, 768), "b1.weight": (768, 4), "b2.weight": (4, 768)},
        "oft": {"oft_blocks": (4, 192, 192)},
        "boft": {"oft_blocks": (2, 8, 96, 96)},
    }[kind]
    stem = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    found = identify(write_stripped(shapes | {f"{stem}.{end}": s for end, s in encoder.items()}), hashes=False)
    assert (found.kind, found.family.value, found.adapter.value) == ("vector", "sd15", kind)

"""Which family of several that have all of an adapter's modules: by completeness, depth, words and names."""

import json
from collections.abc import Callable

import pytest

from formats import Architecture, Layout, architecture, identify


def attention(table: Architecture) -> list[str]:
    return [name for name in table.modules if name.startswith("unet.") and "_blocks." in name and ".attn" in name]


def text(table: Architecture, component: str) -> list[str]:
    return [name for name in table.modules if name.startswith(f"{component}.") and "self_attn" in name]


def test_two_text_encoders_make_it_sdxl_or_ssd1b_and_metadata_decide(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sdxl")
    shapes = adapter_shapes(table, text(table, "text_encoder") + text(table, "text_encoder_2"), Layout.KOHYA)
    bare = identify(write_file(shapes))
    declared = identify(write_file(shapes, metadata={"ss_base_model_version": "sdxl_base_v1-0"}))
    assert (bare.family.value, bare.architecture) == ("unknown", None)
    assert bare.family.confidence < 0.5
    assert "sdxl and ssd1b" in bare.family.evidence[0]
    assert (declared.family.value, declared.family.confidence) == ("sdxl", 0.8)
    assert "ss_base_model_version is 'sdxl_base_v1-0'" in declared.family.evidence


def test_shapes_weigh_more_than_what_the_metadata_say(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sd15")
    shapes = adapter_shapes(table, attention(table), Layout.KOHYA)
    honest = identify(write_file(shapes, metadata={"modelspec.architecture": "stable-diffusion-v1/lora"}))
    lying = identify(write_file(shapes, metadata={"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}))
    assert honest.family.value == lying.family.value == "sd15"
    assert honest.family.confidence > lying.family.confidence


def test_a_complete_ssd1b_file_is_told_from_a_part_of_sdxl(write_file: Callable, adapter_shapes) -> None:
    small, large = architecture("ssd1b"), architecture("sdxl")
    complete = adapter_shapes(small, attention(small), Layout.KOHYA)
    part = adapter_shapes(small, attention(small)[:5], Layout.KOHYA)
    deep = adapter_shapes(large, [m for m in attention(large) if "transformer_blocks.9" in m], Layout.KOHYA)
    assert identify(write_file(complete)).family.value == "ssd1b"
    assert identify(write_file(part)).family.value == "unknown"
    mid = adapter_shapes(large, [m for m in large.modules if "mid_block.attentions" in m], Layout.KOHYA)
    assert identify(write_file(deep | mid)).family.value == "sdxl"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("papercut-ssd-1b", "ssd1b"),
        ("papercut_sdxl", "sdxl"),
        ("SDXL papercut for SSD_1B", "ssd1b"),
        ("sd15-or-sdxl", "unknown"),
        ("sd-1 papercut", "unknown"),
        ("papercut", "unknown"),
    ],
)
def test_the_name_of_the_file_breaks_a_tie_and_weighs_less_than_its_metadata(
    name: str, family: str, write_file: Callable, adapter_shapes
) -> None:
    table = architecture("sdxl")
    shapes = adapter_shapes(table, text(table, "text_encoder") + text(table, "text_encoder_2"), Layout.KOHYA)
    found = identify(write_file(shapes, name=f"{name}.safetensors"))
    assert (found.family.value, found.family.confidence) == (family, 0.3 if family == "unknown" else 0.5)
    said = {"ss_base_model_version": "sdxl_base_v1-0"}
    declared = identify(write_file(shapes, metadata=said, name=f"{name}.safetensors"))
    assert (declared.family.value, declared.family.confidence) == ("sdxl", 0.8)


@pytest.mark.parametrize(
    ("base", "family"),
    [
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("segmind/SSD-1B", "ssd1b"),
        (r"C:\Users\ann\models\SSD-1B", "ssd1b"),
        ("somebody/something", "unknown"),
        (None, "unknown"),
        (7, "unknown"),
    ],
)
def test_what_a_peft_folders_configuration_calls_its_base_breaks_a_tie(
    base: object, family: str, write_file: Callable, adapter_shapes
) -> None:
    table = architecture("sdxl")
    modules = [m for m in text(table, "text_encoder") if m.endswith("q_proj")]
    modules += [m for m in text(table, "text_encoder_2") if m.endswith("q_proj")]
    folder = write_file(adapter_shapes(table, modules, Layout.PEFT), name="folder/adapter_model.safetensors").parent
    (folder / "adapter_config.json").write_text(json.dumps({"r": 1, "lora_alpha": 1, "base_model_name_or_path": base}))
    found = identify(folder)
    assert (found.kind, found.family.value, found.layout.value) == ("vector", family, "peft")
    assert not any("ann" in sentence for sentence in found.family.evidence)

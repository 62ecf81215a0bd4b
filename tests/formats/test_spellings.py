from types import SimpleNamespace

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils import convert_unet_state_dict_to_peft

from formats import Architecture, Layout, ModuleSpec, architecture, factor_keys, known_architectures
from formats.errors import UnknownModule
from formats.spellings import stem_index, stems

OUTSIDE_BLOCKS = ("time_embedding", "add_embedding", "conv_in", "conv_out")


@pytest.mark.parametrize("name", known_architectures())
@pytest.mark.parametrize("layout", Layout)
def test_no_two_modules_share_a_key(name: str, layout: Layout) -> None:
    table = architecture(name)
    written = [factor_keys(layout, module, table) for module in table.modules]
    assert len({keys.down for keys in written} | {keys.up for keys in written}) == 2 * len(table.modules)


@pytest.mark.parametrize("name", known_architectures())
def test_a_stem_is_ambiguous_only_where_peft_names_no_component(name: str) -> None:
    for layout in Layout:
        for stem, spellings in stem_index(architecture(name), layout).items():
            if len(spellings) > 1:
                assert stem.startswith("base_model.model.")
                assert [s.module.split(".")[0] for s in spellings] == ["text_encoder", "text_encoder_2"]


@pytest.mark.parametrize("name", ["sd15", "sdxl", "ssd1b"])
def test_diffusers_own_conversion_of_our_kohya_keys_gives_our_diffusers_keys(name: str, lcm_modules) -> None:
    table = architecture(name)
    written = {}
    for module in lcm_modules(table):
        keys = factor_keys(Layout.KOHYA, module, table)
        written |= {keys.down: torch.zeros(1, 1), keys.up: torch.zeros(1, 1), keys.alpha: torch.tensor(1.0)}
    assert diffusers_keys(written) == peft_keys(table, lcm_modules(table))


def test_diffusers_own_conversion_of_our_sgm_keys_gives_our_diffusers_keys() -> None:
    table = architecture("sdxl")
    modules = [name for name in table.modules if name.startswith("unet.") and "_embedding" not in name]
    written = {}
    for module in modules:
        keys = factor_keys(Layout.KOHYA_SGM, module, table)
        written |= {keys.down: torch.zeros(1, 1), keys.up: torch.zeros(1, 1), keys.alpha: torch.tensor(1.0)}
    assert diffusers_keys(written) == peft_keys(table, modules)


def diffusers_keys(written: dict[str, torch.Tensor]) -> set[str]:
    mapped = _maybe_map_sgm_blocks_to_diffusers(dict(written), SimpleNamespace(layers_per_block=2))
    converted, _ = _convert_non_diffusers_lora_to_diffusers(mapped)
    return set(convert_unet_state_dict_to_peft(converted))


def peft_keys(table: Architecture, modules: list[str]) -> set[str]:
    keys = [factor_keys(Layout.DIFFUSERS, module, table) for module in modules]
    return {key.down for key in keys} | {key.up for key in keys}


@pytest.mark.parametrize(
    ("module", "original"),
    [
        ("conv_in", "input_blocks_0_0"),
        ("time_embedding.linear_2", "time_embed_2"),
        ("add_embedding.linear_1", "label_emb_0_0"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks_3_0_op"),
        ("down_blocks.2.resnets.0.conv_shortcut", "input_blocks_7_0_skip_connection"),
        ("mid_block.attentions.0.proj_in", "middle_block_1_proj_in"),
        ("mid_block.resnets.1.time_emb_proj", "middle_block_2_emb_layers_1"),
        ("up_blocks.0.upsamplers.0.conv", "output_blocks_2_2_conv"),
        ("up_blocks.2.resnets.2.conv1", "output_blocks_8_0_in_layers_2"),
        ("conv_out", "out_2"),
    ],
)
def test_sgm_names_are_those_of_kohyas_conversion_map(module: str, original: str) -> None:
    keys = factor_keys(Layout.KOHYA_SGM, f"unet.{module}", architecture("sdxl"))
    assert keys.down == f"lora_unet_{original}.lora_down.weight"


def test_an_upsampler_comes_second_where_the_up_block_has_no_attention() -> None:
    keys = factor_keys(Layout.KOHYA_SGM, "unet.up_blocks.0.upsamplers.0.conv", architecture("sd15"))
    assert keys.down == "lora_unet_output_blocks_2_1_conv.lora_down.weight"


def test_kohya_numbers_the_text_encoders_only_where_there_are_two() -> None:
    module = "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    flat = "text_model_encoder_layers_0_mlp_fc1"
    assert stems(Layout.KOHYA, module, architecture("sd15")) == (f"lora_te_{flat}",)
    assert stems(Layout.KOHYA, module, architecture("sdxl")) == (f"lora_te1_{flat}",)
    second = module.replace("text_encoder", "text_encoder_2")
    assert stems(Layout.KOHYA, second, architecture("sdxl")) == (f"lora_te2_{flat}",)


def test_old_diffusers_keys_are_those_of_the_attention_processors() -> None:
    table = architecture("sd15")
    place = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    keys = factor_keys(Layout.DIFFUSERS_OLD, f"unet.{place}.to_out.0", table)
    assert keys.down == f"unet.{place}.processor.to_out_lora.down.weight"


def test_a_module_outside_the_table_has_no_keys() -> None:
    with pytest.raises(UnknownModule, match="not a module of sd15"):
        factor_keys(Layout.KOHYA, "unet.mid_block.attentions.7.proj_in", architecture("sd15"))


def test_a_module_that_the_original_code_does_not_have_has_no_sgm_keys() -> None:
    table = Architecture("own", {"unet.fresh": ModuleSpec("linear", (2, 2))})
    with pytest.raises(UnknownModule, match="kohya-sgm"):
        factor_keys(Layout.KOHYA_SGM, "unet.fresh", table)

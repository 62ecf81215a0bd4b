import copy
import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file

from formats import (
    Architecture,
    FolderError,
    Layout,
    Located,
    NotAnAdapter,
    UnknownLayout,
    architecture,
    architecture_of_folder,
    factor_keys,
    known_architectures,
    locate,
    open_adapter,
    read_header,
    read_scalars,
)

TARGETS = {
    "unet": ["to_q", "to_k", "to_out.0", "proj_in", "ff.net.2", "conv1", "conv_shortcut", "upsamplers.0.conv"],
    "text_encoder": ["q_proj", "out_proj", "fc1"],
}


@pytest.fixture(scope="module")
def table(small_base: Path) -> Architecture:
    return architecture_of_folder(small_base, "small")


@pytest.fixture(scope="module")
def adapted(small_pipeline: StableDiffusionPipeline) -> dict[str, PeftModel]:
    """Both networks under PEFT, with ranks and alphas that vary."""
    patterns = {
        "unet": {"rank_pattern": {"attn1.to_q": 2, "mid_block.*conv1": 5}, "alpha_pattern": {"to_k": 3}},
        "text_encoder": {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"layers.1.mlp.fc1": 7}},
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return {
            component: get_peft_model(
                copy.deepcopy(getattr(small_pipeline, component)),
                LoraConfig(
                    r=4,
                    lora_alpha=6,
                    target_modules=targets,
                    use_rslora=component == "text_encoder",
                    **patterns[component],
                ),
            )
            for component, targets in TARGETS.items()
        }


def expected(component: str, model: PeftModel) -> dict[str, tuple[int, float]]:
    """PEFT's own rank and scale of each module, under the table's names."""
    found = {}
    for name, layer in model.base_model.model.named_modules():
        if isinstance(layer, LoraLayer):
            is_short = component == "text_encoder" and not name.startswith("text_model.")
            inner = f"text_model.{name}" if is_short else name
            found[f"{component}.{inner}"] = (layer.r["default"], layer.scaling["default"])
    return found


def found_in(located: Located, path: Path) -> dict[str, tuple[int, float]]:
    assert located.unmatched == ()
    assert located.misfits == ()
    header = read_header(path)
    stored = read_scalars(header, [m.alpha_key for m in located.modules if m.alpha_key])
    scale = {m.module: (m.alpha if m.alpha is not None else stored[m.alpha_key]) / m.dim for m in located.modules}
    return {m.module: (m.dim, pytest.approx(scale[m.module])) for m in located.modules}


def lora_state(model: PeftModel) -> dict[str, torch.Tensor]:
    return {key.removeprefix("base_model.model."): value for key, value in get_peft_model_state_dict(model).items()}


def test_a_file_that_diffusers_saved_gives_pefts_ranks_and_scales(adapted, table: Architecture, tmp_path: Path) -> None:
    configs = {
        f"{name}_lora_adapter_metadata": model.peft_config["default"].to_dict() for name, model in adapted.items()
    }
    layers = {f"{name}_lora_layers": lora_state(model) for name, model in adapted.items()}
    StableDiffusionPipeline.save_lora_weights(tmp_path, **layers, **configs)
    opened = open_adapter(tmp_path)
    located = locate(opened.header, table, opened.config)
    assert located.layout == Layout.DIFFUSERS
    assert found_in(located, opened.path) == expected("unet", adapted["unet"]) | expected(
        "text_encoder", adapted["text_encoder"]
    )


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_a_folder_that_peft_saved_gives_pefts_ranks_and_scales(
    component: str, adapted, table: Architecture, tmp_path: Path
) -> None:
    adapted[component].save_pretrained(tmp_path)
    opened = open_adapter(tmp_path)
    located = locate(opened.header, table, opened.config)
    assert located.layout == Layout.PEFT
    assert found_in(located, opened.path) == expected(component, adapted[component])


def test_a_peft_folders_weight_file_finds_its_configuration(adapted, tmp_path: Path) -> None:
    adapted["unet"].save_pretrained(tmp_path)
    assert open_adapter(tmp_path / "adapter_model.safetensors") == open_adapter(tmp_path)


def kohya_state(model: PeftModel, prefix: str) -> dict[str, torch.Tensor]:
    """The exporter of the LCM-LoRA training script (`get_module_kohya_state_dict`), with each module's own alpha."""
    written = {}
    layers = {n: m for n, m in model.base_model.model.named_modules() if isinstance(m, LoraLayer)}
    for key, weight in lora_state(model).items():
        name = key.split(".lora_")[0]
        flat = f"{prefix}_{name.replace('.', '_')}"
        written[f"{flat}.{'lora_down' if '.lora_A.' in key else 'lora_up'}.weight"] = weight
        written[f"{flat}.alpha"] = torch.tensor(layers[name].scaling["default"] * layers[name].r["default"])
    return written


def test_a_kohya_file_of_the_lcm_script_gives_pefts_ranks_and_scales(
    adapted, table: Architecture, tmp_path: Path
) -> None:
    path = tmp_path / "lcm.safetensors"
    save_file(kohya_state(adapted["unet"], "lora_unet"), path)
    located = locate(read_header(path), table)
    assert located.layout == Layout.KOHYA
    assert found_in(located, path) == expected("unet", adapted["unet"])


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_layout_of_any_modules_is_found_again(data, write_file, adapter_shapes) -> None:
    table = architecture(data.draw(st.sampled_from(known_architectures())))
    layout = data.draw(st.sampled_from(list(Layout)))
    modules = data.draw(st.lists(st.sampled_from(sorted(table.modules)), min_size=1, max_size=6, unique=True))
    shapes = adapter_shapes(table, modules, layout, data.draw(st.integers(1, 3)))
    located = locate(read_header(write_file(shapes)), table)
    assert (located.unmatched, located.misfits) == ((), ())
    written = {m: (factor_keys(layout, m, table).down, factor_keys(layout, m, table).up) for m in modules}
    assert {m.module: (m.keys["down"], m.keys["up"]) for m in located.modules} == written
    assert {m.alpha for m in located.modules} == {float(m.dim) for m in located.modules}


def test_modules_come_in_the_order_of_the_table(write_file, adapter_shapes, lcm_modules) -> None:
    table = architecture("sd15")
    modules = lcm_modules(table)
    located = locate(read_header(write_file(adapter_shapes(table, modules[::-1], Layout.KOHYA))), table)
    assert [found.module for found in located.modules] == [module for module in table.modules if module in set(modules)]


def test_an_alpha_in_the_file_is_named_and_one_in_the_header_is_not_used(write_file, adapter_shapes) -> None:
    table, module = architecture("sd15"), "unet.mid_block.attentions.0.proj_in"
    keys = factor_keys(Layout.KOHYA, module, table)
    shapes = adapter_shapes(table, [module], Layout.KOHYA, 4) | {keys.alpha: ()}
    path = write_file(
        shapes, metadata={"lora_adapter_metadata": '{"lora_alpha": 9}'}, alphas={keys.alpha: struct.pack("<f", 2)}
    )
    (found,) = locate(read_header(path), table).modules
    assert (found.alpha_key, found.alpha) == (keys.alpha, None)
    assert read_scalars(read_header(path), [keys.alpha]) == {keys.alpha: 2.0}


DOWN, UP = (
    "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight",
    "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight",
)
STEM = "lora_unet_mid_block_attentions_0_proj_in"
OTHER = "lora_unet_mid_block_resnets_0_time_emb_proj"
PAIR = {DOWN: (4, 1280, 1, 1), UP: (1280, 4, 1, 1)}
OTHER_PAIR = {f"{OTHER}.lora_down.weight": (4, 1280), f"{OTHER}.lora_up.weight": (1280, 4)}


@pytest.mark.parametrize(
    ("extra", "unmatched"),
    [
        ({"something.else": (3,)}, {"something.else"}),
        ({"lora_unet_nowhere.lora_down.weight": (4, 3)}, {"lora_unet_nowhere.lora_down.weight"}),
        ({f"{OTHER}.alpha": ()}, {f"{OTHER}.alpha"}),
        ({f"{OTHER}.lora_down.weight": (4, 1280)}, {f"{OTHER}.lora_down.weight"}),
        ({f"{OTHER}.dora_scale": (1280, 1)}, {f"{OTHER}.dora_scale"}),
        ({**OTHER_PAIR, f"{OTHER}.lora_mid.weight": (4, 4, 3, 3)}, {*OTHER_PAIR, f"{OTHER}.lora_mid.weight"}),
        ({f"{OTHER}.lora_down.weight": (4, 640), f"{OTHER}.lora_up.weight": (1280, 4)}, set(OTHER_PAIR)),
        ({f"{OTHER}.lora_down.weight": (4, 1280), f"{OTHER}.lora_up.weight": (1280, 8)}, set(OTHER_PAIR)),
        ({f"{OTHER}.lora_down.weight": (0, 1280), f"{OTHER}.lora_up.weight": (1280, 0)}, set(OTHER_PAIR)),
        (
            {f"{OTHER}.hada_w1_a": (1280, 4), f"{OTHER}.hada_w1_b": (4, 1280)},
            {f"{OTHER}.hada_w1_a", f"{OTHER}.hada_w1_b"},
        ),
        (
            {"unet.mid_block.attentions.0.proj_in.lora_A.weight": (4, 1280)},
            {"unet.mid_block.attentions.0.proj_in.lora_A.weight"},
        ),
    ],
)
def test_what_makes_no_whole_module_is_unmatched(extra: dict, unmatched: set, write_file: Callable) -> None:
    located = locate(read_header(write_file({**PAIR, **extra})), architecture("sd15"))
    assert [found.module for found in located.modules] == ["unet.mid_block.attentions.0.proj_in"]
    assert set(located.unmatched) == unmatched


def test_a_misfit_says_what_the_table_expects(write_file: Callable) -> None:
    shapes = {f"{OTHER}.lora_down.weight": (4, 640), f"{OTHER}.lora_up.weight": (1280, 4)}
    (misfit,) = locate(read_header(write_file(shapes)), architecture("sd15")).misfits
    assert misfit.module == "unet.mid_block.resnets.0.time_emb_proj"
    assert (misfit.expected, misfit.got) == ((1280, 1280), (1280, 640))


def test_a_1x1_kernel_more_or_less_is_no_misfit(write_file: Callable) -> None:
    module = "unet.mid_block.attentions.0.proj_in"
    flat, kernel = {DOWN: (4, 1280), UP: (1280, 4)}, {DOWN: (4, 1024, 1, 1), UP: (1280, 4, 1, 1)}
    assert locate(read_header(write_file(flat)), architecture("sd15")).modules[0].module == module
    kernel[DOWN] = (4, 1280, 1, 1)
    assert locate(read_header(write_file(kernel)), architecture("sd21")).modules[0].module == module


def test_the_name_of_a_single_adapter_is_no_part_of_the_keys(write_file: Callable) -> None:
    stem = "base_model.model.mid_block.attentions.0.proj_in"
    shapes = {f"{stem}.lora_A.mine.weight": (4, 1280, 1, 1), f"{stem}.lora_B.mine.weight": (1280, 4, 1, 1)}
    located = locate(read_header(write_file(shapes)), architecture("sd15"))
    assert located.unmatched == ()
    assert located.modules[0].keys["down"] == f"{stem}.lora_A.mine.weight"


def test_a_text_encoder_without_component_is_found_by_its_shapes(write_file: Callable) -> None:
    stem = "base_model.model.text_model.encoder.layers.0.self_attn.q_proj"
    for width, component in ((768, "text_encoder"), (1280, "text_encoder_2")):
        shapes = {f"{stem}.lora_A.weight": (4, width), f"{stem}.lora_B.weight": (width, 4)}
        (found,) = locate(read_header(write_file(shapes)), architecture("sdxl")).modules
        assert found.module.split(".")[0] == component


@pytest.mark.parametrize(
    ("stem", "module"),
    [
        ("unet.mid_block.attentions.0.proj_in.lora", "unet.mid_block.attentions.0.proj_in"),
        (
            "mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora",
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer",
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
        ),
        (
            "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora",
            "text_encoder.text_model.encoder.layers.0.self_attn.out_proj",
        ),
    ],
)
def test_every_spelling_of_old_diffusers_is_found(stem: str, module: str, write_file: Callable) -> None:
    table = architecture("sd15")
    out, inside = table.modules[module].shape[:2]
    located = locate(
        read_header(write_file({f"{stem}.down.weight": (4, inside), f"{stem}.up.weight": (out, 4)})), table
    )
    assert located.layout == Layout.DIFFUSERS_OLD
    assert [found.module for found in located.modules] == [module]


def test_a_file_in_both_dialects_of_kohya_is_found_whole(write_file: Callable, adapter_shapes) -> None:
    table = architecture("sdxl")
    first, second, third = [m for m in table.modules if m.endswith("attn2.to_k")][:3]
    shapes = adapter_shapes(table, [first, second], Layout.KOHYA_SGM) | adapter_shapes(table, [third], Layout.KOHYA)
    located = locate(read_header(write_file(shapes)), table)
    assert located.layout == Layout.KOHYA_SGM
    assert {found.module for found in located.modules} == {first, second, third}


def test_a_checkpoint_is_no_adapter(small_base: Path, table: Architecture) -> None:
    with pytest.raises(NotAnAdapter, match="no adapter"):
        locate(read_header(small_base / "unet" / "diffusion_pytorch_model.safetensors"), table)


def test_an_adapter_of_another_kind_of_network_has_an_unknown_layout(write_file: Callable) -> None:
    stem = "transformer.single_transformer_blocks.0.attn.to_q"
    path = write_file({f"{stem}.lora_A.weight": (4, 3072), f"{stem}.lora_B.weight": (3072, 4)})
    with pytest.raises(UnknownLayout, match="none of its 1 adapted modules is one of sd15's"):
        locate(read_header(path), architecture("sd15"))


def test_a_configuration_that_is_no_object_is_refused_by_name(adapted, tmp_path: Path) -> None:
    adapted["unet"].save_pretrained(tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps([1]))
    with pytest.raises(FolderError, match=r"adapter_config\.json: holds list"):
        open_adapter(tmp_path)

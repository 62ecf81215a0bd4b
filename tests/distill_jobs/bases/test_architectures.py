"""On the true U-Nets, without storage: LCM-LoRA's targets, its published sizes, and names that diffusers loads."""

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_peft, convert_unet_state_dict_to_peft
from torch import Tensor, nn

from distill_jobs.adapters import LCD_TARGETS, TEXT_ENCODER_TARGETS, injected
from distill_jobs.export import canonical
from formats import Layout, architecture, factor_keys

ROOT = Path(__file__).resolve().parents[3]
FAMILIES = ("sd15", "sd21", "ssd1b", "sdxl")
PIPELINES = {
    "sd15": StableDiffusionPipeline,
    "sd21": StableDiffusionPipeline,
    "ssd1b": StableDiffusionXLPipeline,
    "sdxl": StableDiffusionXLPipeline,
}


@cache
def table_script() -> ModuleType:
    """scripts/architecture_tables.py, for the configurations of the networks."""
    spec = importlib.util.spec_from_file_location("architecture_tables", ROOT / "scripts" / "architecture_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def unet(family: str) -> UNet2DConditionModel:
    """The U-Net of a family without storage."""
    with torch.device("meta"):
        return UNet2DConditionModel(**table_script().UNETS[family])


@cache
def adapted(family: str) -> tuple[tuple[str, ...], int]:
    """The modules that LCM-LoRA's targets reach, as tables name them, and the trained parameters at rank 64."""
    with torch.device("meta"), injected(unet(family), LCD_TARGETS, rank=64, alpha=64.0, seed=0) as adapter:
        count = sum(parameter.numel() for parameter in adapter.parameters().values())
        return tuple(canonical("unet", module) for module in adapter.layers), count


@pytest.mark.parametrize(
    ("family", "modules", "millions"),
    [("sd15", 278, 67.25), ("sd21", 278, 67.78), ("ssd1b", 423, 104.90), ("sdxl", 788, 196.75)],
)
def test_an_adapter_of_rank_64_has_the_published_size(family: str, modules: int, millions: float) -> None:
    found, parameters = adapted(family)
    assert len(found) == modules
    assert parameters / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_target_finds_modules_and_every_module_is_in_the_shipped_table(family: str) -> None:
    found, _ = adapted(family)
    table = architecture(family)
    for target in LCD_TARGETS:
        assert any(module.endswith(f".{target}") for module in found), target
    for module in found:
        shape = tuple(unet(family).get_submodule(module.removeprefix("unet.")).weight.shape)
        assert table.modules[module].shape == shape


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS])
@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_finds_every_module_under_the_exported_names(family: str, layout: Layout) -> None:
    found, _ = adapted(family)
    encoders = [canonical(c, m) for c, n in text_encoders(family).items() for m in attention(n)]
    exported = {}
    for module in (*found, *encoders):
        exported |= _rank_one(family, module, layout)
    read, _ = PIPELINES[family].lora_state_dict(exported, unet_config=unet(family).config)
    loaded = read if layout is Layout.DIFFUSERS else _as_peft(read)
    assert {key.rpartition(".lora_")[0] for key in loaded} == {*found, *encoders}


def test_what_diffusers_reads_fits_sdxls_own_u_net() -> None:
    found, _ = adapted("sdxl")
    exported: dict[str, Tensor] = {}
    for module in found:
        exported |= _rank_one("sdxl", module, Layout.KOHYA)
    read, alphas = StableDiffusionXLPipeline.lora_state_dict(exported, unet_config=unet("sdxl").config)
    with torch.device("meta"):
        own = UNet2DConditionModel(**table_script().UNETS["sdxl"])
    own.load_lora_adapter(read, network_alphas=alphas, prefix="unet", low_cpu_mem_usage=True)
    loaded = {name.partition(".lora_A")[0] for name, _ in own.named_parameters() if ".lora_A." in name}
    assert {canonical("unet", name) for name in loaded} == set(found)


def text_encoders(family: str) -> dict[str, nn.Module]:
    """The text encoders of a family without storage."""
    with torch.device("meta"):
        encoders: dict[str, nn.Module] = table_script().text_encoders(family)
    return encoders


def attention(encoder: nn.Module) -> list[str]:
    """The modules of a text encoder that a style training reaches."""
    return [n for n, _ in encoder.named_modules() if any(n.endswith(f".{t}") for t in TEXT_ENCODER_TARGETS)]


def _as_peft(read: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names under which diffusers gives a state dict to PEFT."""
    reached = convert_unet_state_dict_to_peft({k: v for k, v in read.items() if k.startswith("unet.")})
    return reached | convert_state_dict_to_peft({k: v for k, v in read.items() if k.startswith("text_encoder")})


def _rank_one(family: str, module: str, layout: Any) -> dict[str, Tensor]:
    """The tensors of one module at rank 1, whose elements are one number in memory."""
    table = architecture(family)
    (out, inside, *kernel), keys = table.modules[module].shape, factor_keys(layout, module, table)
    one = torch.zeros(1)
    up, down = one.expand(out, 1), one.expand(1, inside)
    if kernel:
        up, down = one.expand(out, 1, 1, 1), one.expand(1, inside, *kernel)
    return {keys.up: up, keys.down: down} | ({keys.alpha: torch.tensor(1.0)} if keys.alpha else {})

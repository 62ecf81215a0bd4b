"""The files that benchmarks are run on have the shapes that they claim, and are the same ones each time."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from arithmetic import open_vector
from benchmarks.arithmetic_bake import unet_config
from benchmarks.synthetic import BASE_WEIGHTS, Draw, adapted_modules, few_modules, write_base, write_vector
from formats import Layout, architecture, architecture_of_folder, identify, read_header


@pytest.mark.parametrize(("family", "count", "parameters"), [("sd15", 278, 67_252_224), ("sdxl", 788, 196_751_360)])
def test_a_vector_of_rank_64_reaches_what_the_published_lcm_lora_reaches(
    family: str, count: int, parameters: int
) -> None:
    modules = adapted_modules(architecture(family))
    assert len(modules) == count
    assert sum(64 * (spec.shape[0] + math.prod(spec.shape[1:])) for spec in modules.values()) == parameters


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_the_engine_reads_the_drawn_factors_from_a_file(tmp_path: Path, dtype: str) -> None:
    table = architecture("sd15")
    modules = few_modules(adapted_modules(table))
    draw = Draw(seed=3, rank=4, alpha=2.5, dtype=dtype)
    vector = open_vector(write_vector(tmp_path / "v.safetensors", table, modules, draw), table)
    assert (vector.layout, vector.unmatched, vector.modules.keys()) == (Layout.KOHYA, (), modules.keys())
    for module, spec in modules.items():
        up, down = draw.factors(module, spec.shape)
        read = vector.factors(module)
        assert read.scale == 2.5 / 4
        np.testing.assert_array_equal(read.up.numpy(), up)
        np.testing.assert_array_equal(read.down.numpy(), down)


def test_a_draw_is_its_seed_s_alone(tmp_path: Path) -> None:
    table = architecture("sd15")
    modules = few_modules(adapted_modules(table))
    first, again, other = (
        write_vector(tmp_path / f"{number}", table, modules, Draw(seed, rank=4)).read_bytes()
        for number, seed in enumerate((1, 1, 2))
    )
    assert first == again != other


def test_the_delta_of_a_draw_is_as_large_whatever_its_alpha_is() -> None:
    norms = []
    for alpha in (8.0, 32.0):
        up, down = Draw(seed=0, rank=16, alpha=alpha).factors("unet.a", (320, 320))
        norms.append(np.linalg.norm(alpha / 16 * up.astype(float) @ down.astype(float)))
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


def test_a_decaying_draw_has_a_decaying_spectrum() -> None:
    ratios = []
    for decay in (0.0, 1.0):
        up, down = Draw(seed=0, rank=16, decay=decay).factors("unet.a", (320, 320))
        values = np.linalg.svd(up.astype(float) @ down.astype(float), compute_uv=False)
        ratios.append(values[15] / values[0])
    assert ratios[1] < 0.15 < 0.5 < ratios[0]


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_tiny_vector_is_still_known_as_its_family_s(tmp_path: Path, family: str) -> None:
    table = architecture(family)
    path = write_vector(tmp_path / "v.safetensors", table, few_modules(adapted_modules(table)), Draw(0, rank=4))
    assert identify(path).family.value == family


def test_a_base_is_one_that_diffusers_loads_in_fp16(tmp_path: Path) -> None:
    base = write_base(tmp_path, unet_config(tiny=True))
    network, report = UNet2DConditionModel.from_pretrained(
        base / "unet", torch_dtype=torch.float16, output_loading_info=True
    )
    assert not any(report.values())
    assert all(parameter.isfinite().all() for parameter in network.parameters())
    header = read_header(base / "unet" / BASE_WEIGHTS)
    assert {spec.dtype for spec in header.tensors.values()} == {"F16"}
    assert json.loads((base / "model_index.json").read_text())["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert few_modules(adapted_modules(architecture_of_folder(base, "tiny")))

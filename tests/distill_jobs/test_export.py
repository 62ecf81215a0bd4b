"""What is exported loads in a plain diffusers pipeline and changes it as the trained network was changed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from arithmetic import open_vector
from distill_jobs.adapters import LCD_TARGETS, TEXT_ENCODER_TARGETS, Factors
from distill_jobs.export import canonical, export
from formats import Layout, architecture_of_folder, identify

RANK, ALPHA = 4, 6.0


@pytest.fixture(scope="module")
def components(base: StableDiffusionPipeline) -> dict[str, dict[str, Factors]]:
    """Random factors on every module that a training can reach."""
    return {
        "unet": _random_factors(base.unet, LCD_TARGETS),
        "text_encoder": _random_factors(base.text_encoder, TEXT_ENCODER_TARGETS),
    }


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS])
def test_a_plain_pipeline_loads_it_with_every_weight_changed_by_the_delta(
    fresh_base: StableDiffusionPipeline, components: dict[str, Any], tmp_path: Path, layout: Any
) -> None:
    before = {c: _weights(getattr(fresh_base, c), components[c]) for c in components}
    fresh_base.load_lora_weights(export(components, tmp_path / "v.safetensors", layout, {}))
    fresh_base.fuse_lora()
    fresh_base.unload_lora_weights()
    for component, modules in components.items():
        after = _weights(getattr(fresh_base, component), modules)
        for module, factors in modules.items():
            torch.testing.assert_close(after[module] - before[component][module], _delta(factors), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [Layout.KOHYA, Layout.DIFFUSERS, Layout.PEFT])
def test_our_own_reader_finds_every_module_with_its_scale(
    base_folder: Path, components: dict[str, Any], tmp_path: Path, layout: Any
) -> None:
    path = export(components, tmp_path / "v.safetensors", layout, {})
    vector = open_vector(path, architecture_of_folder(base_folder, "small"))
    trained = {canonical(c, m): factors for c, of in components.items() for m, factors in of.items()}
    assert set(vector.modules) == set(trained)
    for module, factors in trained.items():
        found = vector.factors(module)
        delta = found.scale * (found.up.double().flatten(1) @ found.down.double().flatten(1))
        torch.testing.assert_close(delta.view_as(_delta(factors)).float(), _delta(factors), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "name"), [(Layout.KOHYA, "kohya"), (Layout.DIFFUSERS, "diffusers"), (Layout.PEFT, "peft")]
)
def test_each_layout_is_identified_as_itself(
    base_folder: Path, components: dict[str, Any], tmp_path: Path, layout: Any, name: str
) -> None:
    path = export(components, tmp_path / "v.safetensors", layout, {})
    found = identify(path, architectures=[architecture_of_folder(base_folder, "small")])
    assert (found.layout.value, found.family.value, found.rank, found.alpha) == (name, "small", RANK, ALPHA)


def test_the_same_factors_give_the_same_bytes_and_the_metadata_is_in_the_header(
    components: dict[str, Any], tmp_path: Path
) -> None:
    metadata = {str(i): f"value {i}" for i in range(20)}
    written = [export(components, tmp_path / n, Layout.DIFFUSERS, metadata) for n in ("a.safetensors", "b.safetensors")]
    assert written[0].read_bytes() == written[1].read_bytes()
    with safe_open(written[0], "pt") as opened:
        assert metadata.items() <= opened.metadata().items()


def test_a_peft_folder_carries_rank_and_alpha_in_its_configuration(components: dict[str, Any], tmp_path: Path) -> None:
    folder = export({"unet": components["unet"]}, tmp_path / "v.safetensors", Layout.PEFT, {})
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (RANK, ALPHA)
    assert all(name.startswith("base_model.model.") for name in load_file(folder / "adapter_model.safetensors"))


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(
    components: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "v.safetensors"
    save_file({"old": torch.zeros(1)}, path)
    (tmp_path / "v.safetensors.partial").write_bytes(b"of a killed process")
    export(components, path, Layout.KOHYA, {})
    assert "old" not in load_file(path)
    assert list(tmp_path.iterdir()) == [path]


def _random_factors(network: nn.Module, targets: tuple[str, ...]) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return 0.1 * torch.randn(*shape, generator=generator)

    return {
        name: Factors(
            draw(module.weight.shape[0], RANK, *(1,) * (module.weight.ndim - 2)),
            draw(RANK, *module.weight.shape[1:]),
            ALPHA,
        )
        for name, module in network.named_modules()
        if any(name.endswith(f".{target}") for target in targets)
    }


def _weights(network: nn.Module, modules: dict[str, Factors]) -> dict[str, Tensor]:
    return {module: network.get_submodule(module).weight.detach().clone() for module in modules}


def _delta(factors: Factors) -> Tensor:
    product = factors.up.flatten(1) @ factors.down.flatten(1)
    return (ALPHA / RANK * product).view(factors.up.shape[0], *factors.down.shape[1:])

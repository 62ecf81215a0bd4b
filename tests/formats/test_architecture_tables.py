import math
import subprocess
import sys
from pathlib import Path

import pytest

from formats import Architecture, ModuleSpec, UnknownArchitecture, architecture, component_of, known_architectures

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "modules", "millions"),
    [("sd15", 278, 67.25), ("sd21", 278, 67.78), ("sdxl", 788, 196.75), ("ssd1b", 423, 104.90)],
)
def test_lcm_loras_targets_at_rank_64_have_the_published_sizes(name, modules, millions, lcm_modules) -> None:
    table = architecture(name)
    adapted = [table.modules[module].shape for module in lcm_modules(table)]
    parameters = sum(64 * (out + inside * math.prod(kernel)) for out, inside, *kernel in adapted)
    assert len(adapted) == modules
    assert parameters / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("name", "width", "projection", "encoders"),
    [("sd15", 768, "conv", 1), ("sd21", 1024, "linear", 1), ("sdxl", 2048, "linear", 2), ("ssd1b", 2048, "linear", 2)],
)
def test_tables_have_the_cross_attention_projections_and_encoders_of_their_family(
    name: str, width: int, projection: str, encoders: int
) -> None:
    modules = architecture(name).modules
    assert {spec.shape[1] for module, spec in modules.items() if module.endswith("attn2.to_k")} == {width}
    assert {spec.kind for module, spec in modules.items() if module.endswith(".proj_in")} == {projection}
    assert len(architecture(name).components) == 1 + encoders


def test_every_name_begins_with_its_component_and_text_encoders_with_text_model() -> None:
    for name in known_architectures():
        for module in architecture(name).modules:
            component, _, rest = module.partition(".")
            assert component == component_of(module)
            assert component in ("unet", "text_encoder", "text_encoder_2")
            assert component == "unet" or rest.startswith(("text_model.", "text_projection"))


def test_ssd1bs_modules_are_a_part_of_sdxls() -> None:
    small, large = architecture("ssd1b").modules, architecture("sdxl").modules
    assert small.items() < large.items()


def test_the_shipped_tables_are_what_the_script_writes(tmp_path: Path) -> None:
    script = ROOT / "scripts" / "architecture_tables.py"
    subprocess.run(
        [sys.executable, script, tmp_path], check=True, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    )
    for name in known_architectures():
        shipped = ROOT / "formats" / "tables" / f"{name}.json.gz"
        assert (tmp_path / shipped.name).read_bytes() == shipped.read_bytes()


def test_json_brings_an_architecture_back() -> None:
    table = Architecture("own", {"unet.a": ModuleSpec("linear", (2, 3)), "unet.b": ModuleSpec("conv", (2, 3, 1, 1))})
    assert Architecture.from_json(table.to_json()) == table


@pytest.mark.parametrize(
    "document",
    [{}, {"name": "x"}, {"name": "x", "modules": []}, {"name": "x", "modules": {"a": ["dense", [1]]}}],
)
def test_json_that_is_no_table_is_refused(document: dict) -> None:
    with pytest.raises(UnknownArchitecture, match="not an architecture table"):
        Architecture.from_json(document)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownArchitecture, match="sd15, sd21, sdxl, ssd1b"):
        architecture("sd3")

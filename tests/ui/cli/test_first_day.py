"""Day one as an artist: a folder of LoRAs that grew over years, and one base. What fits, and what does it paint?"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import Result

from formats import Architecture, architecture, architecture_of_folder

LORAS = 200
SHIPPED = ("sd15", "sd21", "sdxl")
MODULES = 2


@pytest.fixture
def library(tmp_path: Path, pipeline_folder: Path) -> Path:
    """200 LoRAs in one folder: of SD 1.5, SD 2.1 and SDXL, and of the base at hand, in no order, some in folders."""
    tables = [*map(architecture, SHIPPED), architecture_of_folder(pipeline_folder, "shapes")]
    generator = np.random.default_rng(0)
    for number in range(LORAS):
        table = tables[number % len(tables)]
        folder = tmp_path / "library" / ("" if number % 3 else f"from-{number % 5}")
        folder.mkdir(parents=True, exist_ok=True)
        save_file(dict(_lora(table, generator)), folder / f"{table.name}-{number:03}.safetensors")
    return tmp_path / "library"


def _lora(table: Architecture, generator: np.random.Generator) -> Iterable[tuple[str, np.ndarray]]:
    """A kohya LoRA of rank 1 on a few cross-attentions."""
    modules = [entry for entry in table.modules.items() if entry[0].endswith("attn2.to_k")][:MODULES]
    for module, spec in modules:
        stem = "lora_unet_" + module.removeprefix("unet.").replace(".", "_")
        for half, shape in (("down", (1, spec.shape[1])), ("up", (spec.shape[0], 1))):
            yield f"{stem}.lora_{half}.weight", (0.1 * generator.standard_normal(shape)).astype(np.float32)


def test_from_a_folder_of_loras_and_a_base_to_a_picture_in_four_commands(
    tau: Callable[..., Result], library: Path, pipeline_folder: Path, tmp_path: Path
) -> None:
    commands = 0

    def run(*arguments: object) -> Result:
        nonlocal commands
        commands += 1
        result = tau(*arguments)
        assert result.exit_code == 0, result.stderr
        return result

    assert f"{LORAS} imported, 0 unchanged, 0 left" in run("import", library).stderr
    assert f"identified: {LORAS // 4}" in run("import", pipeline_folder, "--name", "shapes").stderr
    fitting = run("fits", "shapes", "-q").stdout.split()
    assert len(fitting) == LORAS // 4
    assert all(name.startswith("shapes-") for name in fitting)
    picture = tmp_path / "picture.png"
    run("preview", f"0.8*{fitting[0]}", "-p", "a large red circle on a white background", "--steps", 1, "-o", picture)
    with Image.open(picture) as painted:
        assert painted.format == "PNG"
    assert commands == 4 < 10

"""A tiny base without a pipeline, vectors on it, and the command line on a registry of the test's own."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from formats import architecture_of_folder
from ui.cli.main import app

Tau = Callable[..., Result]

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
MODULES = {
    "conv_in": (8, 4, 3, 3),
    "down_blocks.0.attentions.0.proj_in": (8, 8, 1, 1),
    f"{BLOCK}.attn1.to_q": (8, 8),
    f"{BLOCK}.attn2.to_k": (8, 6),
    f"{BLOCK}.ff.net.0.proj": (16, 8),
    "down_blocks.0.resnets.0.conv1": (8, 8, 3, 3),
    "down_blocks.0.resnets.0.conv2": (8, 8, 3, 3),
    "down_blocks.0.resnets.0.time_emb_proj": (8, 12),
}
STYLED = (f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn2.to_k")


def write_base(folder: Path, modules: dict[str, tuple[int, ...]]) -> Path:
    """A folder that has a base's layout: a U-Net of `modules` and nothing else."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    weights = {f"{name}.weight": torch.zeros(shape) for name, shape in modules.items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def write_vector(
    path: Path,
    modules: Sequence[str] = STYLED,
    *,
    shapes: dict[str, tuple[int, ...]] = MODULES,
    rank: int = 2,
    alpha: float = 1.0,
    seed: int = 0,
) -> Path:
    """A kohya file with seeded factors for `modules`."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name in modules:
        out, *rest = shapes[name]
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = torch.randn(rank, *rest, generator=generator)
        tensors[f"{stem}.lora_up.weight"] = torch.randn(out, rank, *(1 for _ in rest[1:]), generator=generator)
        tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def _files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_base(folder / "base", MODULES)
    write_vector(folder / "papercut.safetensors", rank=2, alpha=1.0, seed=1)
    write_vector(folder / "lcm.safetensors", tuple(MODULES), rank=3, alpha=3.0, seed=2)
    return folder


@pytest.fixture(scope="session")
def _stocked_home(_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("stocked") / "home"
    for source, name in (("base", "tiny"), ("papercut.safetensors", "papercut"), ("lcm.safetensors", "lcm")):
        result = on(home)("import", _files / source, "--name", name)
        assert result.exit_code == 0, result.stderr
    return home


def on(home: Path) -> Tau:
    """`tau ARGUMENTS`, run in this process on the registry in `home`."""
    runner = CliRunner(env={"NO_COLOR": "1"})

    def run(*arguments: object, stdin: str | None = None) -> Result:
        return runner.invoke(app, ["--home", str(home), *map(str, arguments)], input=stdin)

    return run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where the test's registry lies."""
    return tmp_path / "home"


@pytest.fixture
def tau(home: Path) -> Tau:
    """Run `tau ARGUMENTS` in this process on the test's registry."""
    return on(home)


@pytest.fixture
def files(_files: Path, tmp_path: Path) -> Path:
    """A folder with base/, papercut.safetensors (a style) and lcm.safetensors (an acceleration)."""
    return Path(shutil.copytree(_files, tmp_path / "files"))


@pytest.fixture
def stocked(files: Path, _stocked_home: Path, home: Path) -> Path:
    """The files, imported as tiny, papercut and lcm."""
    shutil.copytree(_stocked_home, home, symlinks=True)
    return files


@pytest.fixture
def many_modules(tmp_path: Path) -> Path:
    """A folder with base/ of 200 modules and vector.safetensors, 13 MB: its composition takes a while."""
    shapes = {f"blocks.{i}.to_q": (64, 64) for i in range(200)}
    write_base(tmp_path / "many" / "base", shapes)
    write_vector(tmp_path / "many" / "vector.safetensors", tuple(shapes), shapes=shapes, rank=128)
    return tmp_path / "many"


@pytest.fixture(name="write_base")
def _write_base() -> Callable[..., Path]:
    return write_base


@pytest.fixture(name="write_vector")
def _write_vector() -> Callable[..., Path]:
    return write_vector


def contents(folder: Path) -> dict[str, int]:
    """Every file below the folder and its size, apart from the database's own and the links that open stored blobs."""
    return {
        str(path): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("registry.db") and "materialised" not in path.parts
    }


@pytest.fixture
def left_behind(home: Path, tmp_path: Path, tau: Tau) -> Callable[[], object]:
    """A snapshot of every file of the test and of the catalog: equal before and after means nothing was left."""

    def snapshot() -> object:
        versions = tau("ls", "-q").stdout.splitlines()
        return contents(tmp_path), versions

    return snapshot


@pytest.fixture(scope="session")
def _pipeline_home(pipeline_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("painted") / "home"
    table = architecture_of_folder(pipeline_folder, "shapes")
    shapes = {
        name.removeprefix("unet."): spec.shape for name, spec in table.modules.items() if name.startswith("unet.")
    }
    files = home.parent
    styled = [name for name in shapes if name.endswith(("to_q", "to_k", "to_v"))]
    write_vector(files / "papercut.safetensors", styled, shapes=shapes, seed=1)
    write_vector(files / "lcm.safetensors", styled, shapes=shapes, rank=4, alpha=0.1, seed=2)
    tau = on(home)
    assert tau("import", pipeline_folder).exit_code == 0
    assert tau("import", files / "papercut.safetensors").exit_code == 0
    assert tau("import", files / "lcm.safetensors", "--kind", "acceleration").exit_code == 0
    return home


@pytest.fixture
def painted(_pipeline_home: Path, home: Path) -> Tau:
    """`tau` on a registry whose base `shapes` can paint and be trained on; papercut and lcm are vectors of it."""
    shutil.copytree(_pipeline_home, home, symlinks=True)
    return on(home)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight small pictures with captions."""
    folder = tmp_path_factory.mktemp("circles")
    generator = torch.Generator().manual_seed(0)
    rows = []
    for i in range(8):
        pixels = torch.randint(256, (64, 64, 3), generator=generator, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(folder / f"{i}.png")
        rows.append(json.dumps({"file_name": f"{i}.png", "text": "a large red circle on a white background"}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    return folder

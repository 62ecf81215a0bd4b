"""Registries with real small LoRA files and pictures, and the pages that show them."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from safetensors.numpy import save_file
from streamlit.testing.v1 import AppTest

from formats import architecture
from registry import Parent, Registry
from ui.web.launch import APP
from workbench.jobs.workers import LOCKS

PAGE_SECONDS = 60
"""How long a page may take on a busy machine."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty registry's home, named as `tau ui` names it; what the pages opened is closed again."""
    monkeypatch.setenv("TAU_HOME", str(tmp_path))
    for name in ("DATABASE_URL", "BLOB_URL", "IMPORT_ROOTS", "BLUR_NSFW"):
        monkeypatch.delenv(f"TAU_{name}", raising=False)
    monkeypatch.setenv("TAU_USER", "ana")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield tmp_path
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a migrated, empty database, to be copied."""
    folder = tmp_path_factory.mktemp("empty")
    Registry.open(folder).close()
    return folder


@pytest.fixture
def registry(home: Path, empty_home: Path) -> Iterator[Registry]:
    """The registry of that home, for a test to fill."""
    shutil.copytree(empty_home, home, dirs_exist_ok=True)
    with Registry.open(home, actor="ana") as opened:
        yield opened


@pytest.fixture
def open_page(home: Path) -> Callable[..., AppTest]:
    """Opens a page by its file's name, with the parameters of a URL; a page that raised is a failed test."""

    def open_page(page: str = "catalog.py", **parameters: str) -> AppTest:
        app = AppTest.from_file(APP, default_timeout=PAGE_SECONDS)
        app.query_params = dict(parameters)
        app.switch_page(page).run()
        assert not app.exception
        return app

    return open_page


@pytest.fixture
def lora_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small kohya LoRA for SD 1.5: the cross-attention keys, of rank `rank` and alpha 1."""

    def write(name: str, seed: int = 0, rank: int = 2) -> Path:
        return _write_lora(tmp_path / f"{name}.safetensors", seed, ranks=(rank,))

    return write


@pytest.fixture
def mixed_file(tmp_path: Path) -> Path:
    """A LoRA whose modules have ranks 2 and 4 in turn."""
    return _write_lora(tmp_path / "mixed.safetensors", seed=0, ranks=(2, 4))


def _write_lora(path: Path, seed: int, ranks: tuple[int, ...]) -> Path:
    generator = np.random.default_rng(seed)
    modules = [entry for entry in architecture("sd15").modules.items() if entry[0].endswith("attn2.to_k")]
    tensors = {}
    for (module, spec), rank in zip(modules, cycle(ranks), strict=False):
        stem = "lora_unet_" + module.removeprefix("unet.").replace(".", "_")
        tensors[f"{stem}.lora_down.weight"] = _noise(generator, rank, spec.shape[1])
        tensors[f"{stem}.lora_up.weight"] = _noise(generator, spec.shape[0], rank)
        tensors[f"{stem}.alpha"] = np.asarray(1, dtype=np.float32)
    save_file(tensors, path)
    return path


def _noise(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="session")
def picture() -> Callable[[int], bytes]:
    """A small PNG of two colours that depend on the seed."""

    def paint(seed: int) -> bytes:
        colours = np.random.default_rng(seed).integers(0, 255, (2, 2, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(colours).resize((64, 64)).save(buffer, format="PNG")
        return buffer.getvalue()

    return paint


@pytest.fixture
def filled(home: Path, filled_home: Path) -> Iterator[Registry]:
    """Two styles, an acceleration, and a certified composition of one of each."""
    shutil.copytree(filled_home, home, dirs_exist_ok=True)
    with Registry.open(home, actor="ana") as opened:
        yield opened


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory: pytest.TempPathFactory, empty_home: Path, picture: Callable[[int], bytes]) -> Path:
    """A home whose registry is filled, to be copied."""
    folder, files = tmp_path_factory.mktemp("filled"), tmp_path_factory.mktemp("files")
    shutil.copytree(empty_home, folder, dirs_exist_ok=True)
    with Registry.open(folder, actor="ana") as registry:
        _fill(registry, lambda name, seed, rank=2: _write_lora(files / f"{name}.safetensors", seed, (rank,)), picture)
    return folder


def _fill(registry: Registry, lora_file: Callable[..., Path], picture: Callable[[int], bytes]) -> None:
    registry.add(
        lora_file("papercut", 1),
        kind="style",
        title="Paper cut",
        description="Layered paper with soft shadows",
        license="openrail++",
        base="external:runwayml/stable-diffusion-v1-5",
        trigger_words=("papercut", "layered paper"),
        recommended_strength=0.8,
        tags={"approved": "yes"},
    )
    registry.add(lora_file("watercolour", 2, rank=4), kind="style", draft=True)
    registry.add(
        lora_file("lcm-sd15", 3), kind="acceleration", license="mit", sampling={"solver": "lcm", "steps": [2, 4, 8]}
    )
    edges = (Parent("papercut:1", "composed_from", 0.8, 0), Parent("lcm-sd15:1", "composed_from", 1.0, 1))
    both = registry.add(lora_file("papercut-lcm", 4, rank=4), kind="composition", edges=edges)
    registry.add_certificate(both.ref, certificate_of(both.artifacts[0].sha256))
    registry.alias("papercut:1", "production")
    for seed in (1, 2):
        settings = {"prompt": "a large red circle on a white background", "steps": 4, "seed": seed}
        registry.add_preview("papercut:1", settings, picture(seed), {})


@pytest.fixture(name="certificate_of")
def _certificate_of() -> Callable[[str], dict[str, object]]:
    """certificate_of(sha256): a certificate as arithmetic writes it."""
    return certificate_of


def certificate_of(sha256: str) -> dict[str, object]:
    """What arithmetic proves about a file, in its words."""
    return {
        "file_sha256": sha256,
        "worst_relative_error": 3.1e-8,
        "bound": 1e-6,
        "layout": "kohya",
        "dtype": "fp32",
        "modules": {f"unet.mid_block.attentions.{i}.proj_in": 1e-8 * i for i in range(12)},
        "method": "freivalds-float64",
        "probes": 8,
        "seed": 20231109,
        "engine_version": "arithmetic/1 torch/2.13.0",
        "recipe": "0.8*papercut:1 + 1.0*lcm-sd15:1",
        "locked": "0.8*sha256:11 + 1.0*sha256:22",
        "inputs": [
            {"name": "papercut", "sha256": "11" * 32, "weight": 0.8},
            {"name": "lcm-sd15", "sha256": "22" * 32, "weight": 1.0},
        ],
    }


@pytest.fixture
def staff(registry: Registry) -> Iterator[None]:
    """Inside, workers of both lanes seem alive on this machine, and do nothing."""
    with ExitStack() as held:
        for lock in LOCKS.values():
            file = held.enter_context((registry.home / lock).open("ab"))
            fcntl.flock(file, fcntl.LOCK_SH)
        yield

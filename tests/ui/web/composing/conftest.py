"""A registry with what a composition takes, and lanes that count as worked for, so that no page starts a process."""

import fcntl
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from distill_jobs import Painter
from registry import Registry
from workbench.intake.importing import import_file
from workbench.jobs.kinds import JOB_KINDS
from workbench.jobs.workers import LOCKS

SHAPES = {"conv_in": (8, 4, 3, 3), "mid_block.attentions.0.to_q": (8, 8), "mid_block.attentions.0.to_k": (8, 6)}


def write_base(folder: Path, note: str) -> Path:
    """A U-Net of three modules in the layout of a base; `note` tells two of them apart."""
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel", "_note": note}))
    weights = {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in SHAPES.items()}
    save_file(weights, folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def write_vector(path: Path, seed: int, shapes: dict[str, tuple[int, ...]] = SHAPES) -> Path:
    """A kohya file of rank 2."""
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, (out, *rest) in shapes.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        tensors[f"{stem}.lora_down.weight"] = generator.standard_normal((2, *rest)).astype(np.float32)
        tensors[f"{stem}.lora_up.weight"] = generator.standard_normal((out, 2, *(1 for _ in rest[1:]))).astype(
            np.float32
        )
    save_file(tensors, path)
    return path


@pytest.fixture(name="write_vector")
def _write_vector() -> Callable[..., Path]:
    """write_vector(path, seed, shapes): a kohya file of rank 2 for modules of these shapes."""
    return write_vector


@pytest.fixture
def studio(registry: Registry, tmp_path: Path, staffed: None) -> Registry:
    """The base `tiny`, the styles `soft` (trigger words, a recommended band) and `hard`, the acceleration `fast`."""
    import_file(registry, write_base(tmp_path / "base", "one"), name="tiny")
    for seed, name in enumerate(("soft", "hard", "fast")):
        kind = "acceleration" if name == "fast" else "style"
        import_file(registry, write_vector(tmp_path / f"{name}.safetensors", seed), name=name, kind=kind)
    said = {"trigger_words": ["soft edges", "mist"], "recommended_strength": 0.8}
    registry.edit("soft", changes={**said, "recommended_low": 0.6, "recommended_high": 1.1})
    return registry


@pytest.fixture
def staffed(home: Path) -> Iterator[None]:
    """Somebody counts as working for every lane of the registry."""
    files = [(home / name).open("ab") for name in LOCKS.values()]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_SH)
    yield
    for file in files:
        file.close()


@pytest.fixture
def work(registry: Registry) -> Callable[[], None]:
    """work(): does all that is queued in every lane, in this process."""

    def work() -> None:
        worker = Painter(registry, JOB_KINDS, name="studio", lease_seconds=60.0, lanes=tuple(LOCKS))
        while worker.take_one():
            pass

    return work

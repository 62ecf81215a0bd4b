"""Files made for these tests: byte-exact safetensors of any shapes, and a small pipeline of the true classes."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from demo.training import networks
from formats import Architecture, Layout, factor_keys
from formats.header import DTYPE_BITS

Shapes = Mapping[str, tuple[int, ...]]
WriteFile = Callable[..., Path]


def _encoded(shapes: Shapes, dtype: str, metadata: Mapping[str, str] | None, alphas: Mapping[str, bytes]) -> bytes:
    """A safetensors file with zeros in every tensor, and `alphas` as F32 scalars."""
    header: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    data = b""
    for name, shape in shapes.items():
        content = alphas.get(name)
        size = 1
        for length in shape:
            size *= length
        content = bytes(size * DTYPE_BITS[dtype] // 8) if content is None else content
        kind = dtype if name not in alphas else "F32"
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """write_file(shapes, dtype="F16", metadata=None, alphas={}, name="file.safetensors") -> path."""

    def write(
        shapes: Shapes,
        dtype: str = "F16",
        metadata: Mapping[str, str] | None = None,
        alphas: Mapping[str, bytes] | None = None,
        name: str = "file.safetensors",
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encoded(shapes, dtype, metadata, alphas or {}))
        return path

    return write


@pytest.fixture
def write_stripped(tmp_path: Path) -> WriteFile:
    """write_stripped(shapes, dtype="F16", metadata=None, name="file.safetensors") -> a file whose data are a hole.

    Tensors may be as large as those of a whole checkpoint: nothing but the header takes up space.
    """

    def write(
        shapes: Shapes, dtype: str = "F16", metadata: Mapping[str, str] | None = None, name: str = "file.safetensors"
    ) -> Path:
        header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
        position = 0
        for key, shape in shapes.items():
            end = position + math.prod(shape) * DTYPE_BITS[dtype] // 8
            header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
            position = end
        text = json.dumps(header).encode()
        path = tmp_path / name
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + position)
        return path

    return write


@pytest.fixture(scope="session")
def adapter_shapes() -> Callable[..., dict[str, tuple[int, ...]]]:
    """adapter_shapes(architecture, modules, layout, rank) -> the shapes of a LoRA's tensors, without alphas."""

    def shapes(
        table: Architecture, modules: Iterable[str], layout: Layout, rank: int = 1
    ) -> dict[str, tuple[int, ...]]:
        made: dict[str, tuple[int, ...]] = {}
        for module in modules:
            keys, (out, inside, *kernel) = factor_keys(layout, module, table), table.modules[module].shape
            made[keys.down] = (rank, inside, *kernel)
            made[keys.up] = (out, rank, *(1 for _ in kernel))
        return made

    return shapes


@pytest.fixture(scope="session")
def small_pipeline(tmp_path_factory: pytest.TempPathFactory) -> StableDiffusionPipeline:
    """A random pipeline of the shapes base's classes."""
    torch.manual_seed(0)
    tokenizer = networks.write_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    return StableDiffusionPipeline(
        vae=networks.autoencoder(),
        text_encoder=networks.text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        unet=networks.unet(),
        scheduler=networks.scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


@pytest.fixture(scope="session")
def small_base(small_pipeline: StableDiffusionPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `small_pipeline`."""
    folder = tmp_path_factory.mktemp("small-base")
    small_pipeline.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def lcm_modules() -> Callable[[Architecture], list[str]]:
    """lcm_modules(architecture) -> the U-Net modules that LCM-LoRA adapts."""
    targets = (
        *("to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"),
        *("conv1", "conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"),
    )
    ends = tuple(f".{target}" for target in targets)
    return lambda table: [name for name in table.modules if name.startswith("unet.") and name.endswith(ends)]

"""Bases whose every tensor is known, and sums to bake into them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from arithmetic.deltas import Delta, Dense, LowRank
from arithmetic.weights import Weights, open_weights
from demo.training import networks
from formats import Architecture, Layout, architecture_of_folder
from formats.norms import norm_widths
from formats.spellings import stems

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Planted:
    """A sum whose deltas are known."""

    architecture: Architecture
    modules: Mapping[str, Delta]
    name: str = "planted"
    content: str = field(default="planted", compare=False)

    def delta(self, module: str) -> Delta:
        return self.modules[module]


def planted_deltas(
    table: Architecture, modules: Mapping[str, tuple[int, ...]], seed: int = 0, size: float = 0.02
) -> Planted:
    """Low-rank deltas for weights, dense ones for biases and norms."""
    generator = torch.Generator().manual_seed(seed)
    deltas: dict[str, Delta] = {}
    for i, (module, shape) in enumerate(modules.items()):
        if len(shape) == 1:
            deltas[module] = Dense(torch.randn(shape[0], 1, generator=generator) * size)
        else:
            rank = i % 4 + 1
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * size
            down = torch.randn(rank, *shape[1:], generator=generator)
            deltas[module] = LowRank(up.half() if i % 2 else up, down.half() if i % 2 else down, 0.5)
    return Planted(table, deltas)


@dataclass(frozen=True)
class World:
    """A random pipeline of the shapes world's classes in one dtype: as a folder, and as the original code's file."""

    folder: Path
    file: Path
    unet: Path
    table: Architecture

    def path(self, kind: str) -> Path:
        places = {"folder": self.folder, "file": self.file, "unet": self.unet, "unet-folder": self.unet.parent}
        return places[kind]

    def weights(self, kind: str, name: str = "base") -> Weights:
        return open_weights(self.path(kind), self.table, name)

    def source(self, kind: str = "folder", seed: int = 0) -> Planted:
        """Deltas for every other module of each component, norms and biases among them."""
        shapes = {module: spec.shape for module, spec in self.table.modules.items() if "embedding." not in module}
        shapes |= {f"{norm}.weight": (width,) for norm, width in norm_widths(self.table).items()}
        shapes["unet.conv_in.bias"] = (64,)
        own = {m: s for m, s in shapes.items() if not kind.startswith("unet") or m.startswith("unet.")}
        return planted_deltas(self.table, dict(list(own.items())[::2]) | {"unet.conv_in.bias": (64,)}, seed)


def make_world(folder: Path, dtype: torch.dtype, seed: int = 0) -> World:
    base = folder / "base"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = networks.write_tokenizer(base / "tokenizer")
        pipe = StableDiffusionPipeline(
            vae=networks.autoencoder(),
            text_encoder=networks.text_encoder(len(tokenizer)),
            tokenizer=tokenizer,
            unet=networks.unet(),
            scheduler=networks.scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipe.to(dtype).save_pretrained(base)
    table = architecture_of_folder(base, "shapes")
    file = save_original(pipe, table, folder / "checkpoint.safetensors")
    return World(base, file, base / "unet" / "diffusion_pytorch_model.safetensors", table)


def save_original(pipe: StableDiffusionPipeline, table: Architecture, path: Path) -> Path:
    """The pipeline in one file, as SD-1 checkpoints are: the original code's U-Net, CLIP, and what no module is of."""
    tensors = {}
    for key, tensor in pipe.unet.state_dict().items():
        module, _, end = key.rpartition(".")
        (stem,) = stems(Layout.COMFY, f"unet.{module}", table)
        tensors[f"model.{stem}.{end}"] = tensor
    for key, tensor in pipe.text_encoder.state_dict().items():
        tensors[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = tensor
    tensors |= {f"first_stage_model.{key}": tensor for key, tensor in pipe.vae.state_dict().items()}
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(16)[None]
    tensors["alphas_cumprod"] = pipe.scheduler.alphas_cumprod.clone()
    metadata = {"format": "pt", "modelspec.hash_sha256": "0xstale", "modelspec.title": "the base"}
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata)
    return path


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """A world in each dtype, made once."""
    made: dict[str, World] = {}

    def world(dtype: str) -> World:
        if dtype not in made:
            made[dtype] = make_world(tmp_path_factory.mktemp(dtype), DTYPES[dtype])
        return made[dtype]

    return world


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Another base of the same table, fp32."""
    return make_world(tmp_path_factory.mktemp("other"), torch.float32, seed=1)


def magnitude(delta: Delta) -> torch.Tensor:
    """The sum of the magnitudes of what each entry of dW is a sum of."""
    if isinstance(delta, LowRank):
        up, down = delta.matrices()
        return up.abs() @ down.abs()
    return delta.dense().abs()


def unit(exact: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The distance of neighbours of `dtype` where `exact` is, in float64."""
    info = torch.finfo(dtype)
    exponent = exact.abs().clamp(min=info.smallest_normal).log2().floor()
    return torch.exp2(exponent) * info.eps


def require_sums(written: Weights, base: Weights, source: Planted, coarse: torch.dtype | None = None) -> None:
    """Every module is the oracle's, rounded once: off by half a unit in the last place, and by what its sum rounds."""
    for module in base.modules:
        before, after = base.weight(module), written.weight(module)
        if module in source.modules:
            delta = source.modules[module]
            exact = before.double() + delta.dense().reshape(before.shape)
            summed = before.double().abs() + magnitude(delta).reshape(before.shape)
            fine = torch.finfo(torch.float64 if after.itemsize > 2 else torch.float32).eps
            allowed = 0.5 * unit(exact, after.dtype) + 4 * fine * summed
            assert (after.double() - exact).abs().le(allowed).all(), module
        else:
            assert torch.equal(after, before if coarse is None else before.to(coarse)), module


@pytest.fixture(scope="session")
def plant() -> type[Planted]:
    """plant(table, {module: delta}) -> a source."""
    return Planted


@pytest.fixture(scope="session")
def planted() -> Callable[..., Planted]:
    """planted(table, {module: shape}, seed=0, size=0.02) -> a source of random deltas."""
    return planted_deltas


@pytest.fixture(scope="session")
def check_sums() -> Callable[..., None]:
    """check_sums(written, base, source, coarse=None): every module is what the oracle says."""
    return require_sums

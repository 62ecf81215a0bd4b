"""Weight files of true shapes and random contents: rank-64 LoRAs that reach what LCM-LoRA reaches, and whole bases.

Everything is seeded and written as it is drawn, so that the memory that it takes does not grow with the file.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from formats import Architecture, Layout, ModuleSpec, factor_keys

if TYPE_CHECKING:
    import torch

TARGETS = (
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "downsamplers.0.conv",
    "upsamplers.0.conv",
    "time_emb_proj",
)
"""What LCM-LoRA adapts (diffusers, train_lcm_distill_lora_sd_wds.py): 278 modules of SD-1.5, 788 of SDXL."""

NUMPY = {"F16": np.float16, "F32": np.float32}
POOL = 1 << 25
"""Random numbers of a base; they are repeated from another place for each tensor."""

BASE_DEVIATION = 0.02
DELTA_DEVIATION = 0.002
BASE_WEIGHTS = "diffusion_pytorch_model.safetensors"

Fill = Callable[[str], np.ndarray]


@dataclass(frozen=True)
class Draw:
    """How a vector is drawn: Gaussian factors, column i of up multiplied by (i + 1) ** -decay."""

    seed: int
    rank: int = 64
    alpha: float = 32.0
    decay: float = 0.0
    dtype: str = "F16"

    def factors(self, module: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Up (m, r[, 1, 1]) and down (r, n[, k, k]) of one module, whatever is drawn before it.

        Down has rows of about unit norm; up is such that alpha / r * up @ down has entries of about a tenth of a
        base's, whatever alpha is: what was trained does not depend on it.
        """
        generator = np.random.default_rng([self.seed, *module.encode()])
        inputs, kind = math.prod(shape[1:]), NUMPY[self.dtype]
        deviation = DELTA_DEVIATION * math.sqrt(inputs * self.rank) / self.alpha
        up = generator.standard_normal((shape[0], self.rank), dtype=np.float32) * np.float32(deviation)
        up *= np.arange(1, self.rank + 1, dtype=np.float32) ** -self.decay
        down = generator.standard_normal((self.rank, *shape[1:]), dtype=np.float32) / np.float32(math.sqrt(inputs))
        return up.reshape(shape[0], self.rank, *(1 for _ in shape[2:])).astype(kind), down.astype(kind)


def adapted_modules(table: Architecture) -> dict[str, ModuleSpec]:
    """The modules of the U-Net that LCM-LoRA adapts."""
    ends = tuple(f".{target}" for target in TARGETS)
    return {name: spec for name, spec in table.modules.items() if name.startswith("unet.") and name.endswith(ends)}


def few_modules(modules: Mapping[str, ModuleSpec]) -> dict[str, ModuleSpec]:
    """The smallest module of each kind, and one by which SDXL is known: enough to see a benchmark run."""
    middle = [name for name in modules if name.startswith("unet.mid_block.attentions.")]
    kinds = [[name for name in modules if name.endswith(f".{target}")] for target in TARGETS]
    smallest = (min(own, key=lambda name: math.prod(modules[name].shape)) for own in (*kinds, middle) if own)
    return {name: modules[name] for name in smallest}


def write_vector(path: Path, table: Architecture, modules: Mapping[str, ModuleSpec], draw: Draw) -> Path:
    """A kohya file of `modules` in diffusers' block names, as LCM-LoRA's are."""
    shapes: dict[str, tuple[int, ...]] = {}
    places: dict[str, tuple[str, int]] = {}
    for module, spec in modules.items():
        keys = factor_keys(Layout.KOHYA, module, table)
        up, down = (spec.shape[0], draw.rank, *(1 for _ in spec.shape[2:])), (draw.rank, *spec.shape[1:])
        shapes |= {str(keys.alpha): (), keys.up: up, keys.down: down}
        places |= {keys.up: (module, 0), keys.down: (module, 1)}
    metadata = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(draw.rank),
        "ss_network_alpha": f"{draw.alpha:g}",
    }
    return _write(path, draw.dtype, shapes, metadata, _drawn(draw, modules, places))


def _drawn(draw: Draw, modules: Mapping[str, ModuleSpec], places: Mapping[str, tuple[str, int]]) -> Fill:
    """The factors of one module at a time; what has no place is an alpha."""
    held: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def fill(key: str) -> np.ndarray:
        if key not in places:
            return np.array(draw.alpha, dtype=NUMPY[draw.dtype])
        module, place = places[key]
        if module not in held:
            held.clear()
            held[module] = draw.factors(module, modules[module].shape)
        return held[module][place]

    return fill


def write_vectors(
    folder: Path, table: Architecture, modules: Mapping[str, ModuleSpec], draws: Iterable[Draw]
) -> list[Path]:
    """One file a draw, named after its place: v0.safetensors, v1.safetensors, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    return [write_vector(folder / f"v{i}.safetensors", table, modules, draw) for i, draw in enumerate(draws)]


def write_base(folder: Path, config: Mapping[str, Any], *, seed: int = 0) -> Path:
    """A diffusers folder whose U-Net has every tensor that `config` asks for, in fp16; no text encoder and no VAE."""
    import torch
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        network = UNet2DConditionModel(**config)
    network.save_config(folder / "unet")
    index = {"_class_name": "StableDiffusionXLPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    write_weights(folder / "unet" / BASE_WEIGHTS, network, seed=seed)
    return folder


def write_weights(path: Path, network: "torch.nn.Module", *, seed: int) -> Path:
    """Every tensor of a network's state dict, in fp16; of the network itself only the shapes are asked."""
    shapes = {key: tuple(tensor.shape) for key, tensor in sorted(network.state_dict().items())}
    return _write(path, "F16", shapes, {"format": "pt"}, _from_pool(shapes, seed))


def _from_pool(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Fill:
    """Parts of one array of random numbers: fresh ones would take a minute for a base."""
    generator = np.random.default_rng(seed)
    sizes = [math.prod(shape) for shape in shapes.values()]
    size = max(min(POOL, sum(sizes)), 2 * max(sizes))
    pool = (generator.standard_normal(size, dtype=np.float32) * np.float32(BASE_DEVIATION)).astype(np.float16)

    def fill(key: str) -> np.ndarray:
        wanted = math.prod(shapes[key])
        start = int(generator.integers(len(pool) - wanted))
        return pool[start : start + wanted]

    return fill


def _write(
    path: Path, dtype: str, shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str], fill: Fill
) -> Path:
    """A safetensors file, tensor by tensor."""
    width, position = NUMPY[dtype]().itemsize, 0
    header: dict[str, Any] = {"__metadata__": metadata}
    for key, shape in shapes.items():
        end = position + width * math.prod(shape)
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in shapes:
            file.write(np.ascontiguousarray(fill(key)).data)
    return path

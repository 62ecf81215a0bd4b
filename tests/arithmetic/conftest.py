"""Small vectors in every layout, and an oracle that reads them without this package: numpy, float64, dense."""

import json
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from safetensors import safe_open
from safetensors.torch import save_file

from arithmetic import Bound, Vector, Weights, bind, compose, open_vector, open_weights, parse
from formats import Architecture, Layout, ModuleSpec

settings.register_profile("seeded", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("seeded")

Deltas = dict[str, np.ndarray]

BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
LAYER = "text_encoder.text_model.encoder.layers.0"
TABLE = {
    "unet.conv_in": ModuleSpec("conv", (10, 4, 3, 3)),
    "unet.down_blocks.0.attentions.0.proj_in": ModuleSpec("conv", (10, 10, 1, 1)),
    f"{BLOCK}.attn1.to_q": ModuleSpec("linear", (10, 10)),
    f"{BLOCK}.attn1.to_out.0": ModuleSpec("linear", (10, 10)),
    f"{BLOCK}.attn2.to_k": ModuleSpec("linear", (10, 7)),
    "unet.down_blocks.0.resnets.0.conv1": ModuleSpec("conv", (10, 10, 3, 3)),
    "unet.down_blocks.0.resnets.0.time_emb_proj": ModuleSpec("linear", (10, 16)),
    f"{LAYER}.self_attn.q_proj": ModuleSpec("linear", (7, 7)),
    f"{LAYER}.self_attn.out_proj": ModuleSpec("linear", (7, 7)),
    f"{LAYER}.mlp.fc1": ModuleSpec("linear", (28, 7)),
}

ORIGINAL = {
    "unet.conv_in": "input_blocks.0.0",
    "unet.down_blocks.0.attentions.0": "input_blocks.1.1",
    "unet.down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2",
    "unet.down_blocks.0.resnets.0.time_emb_proj": "input_blocks.1.0.emb_layers.1",
    "text_encoder": "",
}
"""Where the original code has these modules."""


@dataclass(frozen=True)
class Draft:
    """Random factors before they are written: module -> (up, down, alpha), float32."""

    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor, float]]

    def deltas(self) -> Deltas:
        """alpha / r * up @ down in float64."""
        return {
            module: alpha / down.shape[0] * up.double().flatten(1).numpy() @ down.double().flatten(1).numpy()
            for module, (up, down, alpha) in self.factors.items()
        }


@pytest.fixture(scope="session")
def table() -> Architecture:
    """Ten modules: linear, convolutions of both kinds, a text encoder."""
    return Architecture("tiny", TABLE)


@pytest.fixture(scope="session")
def draft(table: Architecture) -> Callable[..., Draft]:
    """Random factors for some modules; ranks and alphas are dealt out in turn."""

    def make(
        seed: int,
        modules: Sequence[str] = tuple(TABLE),
        ranks: Sequence[int] = (3, 1, 4),
        alphas: Sequence[float] = (2.0, 5.0),
        architecture: Architecture = table,
    ) -> Draft:
        generator = torch.Generator().manual_seed(seed)
        factors = {}
        for i, module in enumerate(modules):
            shape, rank = architecture.modules[module].shape, ranks[i % len(ranks)]
            up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * 0.1
            down = torch.randn(rank, *shape[1:], generator=generator) * 0.1
            factors[module] = (up, down, float(alphas[i % len(alphas)]))
        return Draft(factors)

    return make


@pytest.fixture(scope="session")
def save() -> Callable[[Draft, Path, Layout], Path]:
    """Write a draft the way other tools would: kohya with alphas, a diffusers file, a PEFT folder."""
    return lambda drawn, path, layout=Layout.KOHYA: WRITERS[layout](drawn, path)


def _save_kohya(drawn: Draft, path: Path) -> Path:
    return _save_named(drawn, path, _kohya_stem)


def _save_named(drawn: Draft, path: Path, stem_of: Callable[[str], str]) -> Path:
    tensors = {}
    for module, (up, down, alpha) in drawn.factors.items():
        stem = stem_of(module)
        tensors |= {
            f"{stem}.lora_up.weight": up,
            f"{stem}.lora_down.weight": down,
            f"{stem}.alpha": torch.tensor(alpha),
        }
    save_file(tensors, path)
    return path


def _save_sgm(drawn: Draft, path: Path) -> Path:
    return _save_named(drawn, path, _sgm_stem)


def _save_comfy(drawn: Draft, path: Path) -> Path:
    return _save_named(drawn, path, _comfy_stem)


def _save_diffusers(drawn: Draft, path: Path) -> Path:
    """Without alphas: the scale is folded into up."""
    tensors = {}
    for module, (up, down, alpha) in drawn.factors.items():
        scaled = (up.double() * (alpha / down.shape[0])).float()
        tensors |= {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": scaled}
    save_file(tensors, path)
    return path


def _save_peft(drawn: Draft, path: Path) -> Path:
    path.mkdir()
    tensors, alphas, ranks = {}, {}, {}
    for module, (up, down, alpha) in drawn.factors.items():
        name = module.partition(".")[2]
        tensors |= {f"base_model.model.{name}.lora_A.weight": down, f"base_model.model.{name}.lora_B.weight": up}
        alphas[name], ranks[name] = alpha, down.shape[0]
    save_file(tensors, path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "rank_pattern": ranks, "alpha_pattern": alphas}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return path


WRITERS = {
    Layout.KOHYA: _save_kohya,
    Layout.DIFFUSERS: _save_diffusers,
    Layout.PEFT: _save_peft,
    Layout.KOHYA_SGM: _save_sgm,
    Layout.COMFY: _save_comfy,
}


@pytest.fixture(scope="session")
def read_deltas() -> Callable[..., Deltas]:
    """The oracle: the dense float64 delta of every module of a table in a file of any of the five layouts."""
    return lambda path, modules=tuple(TABLE): {
        module: alpha / down.shape[0] * _matrix(up) @ _matrix(down)
        for module, (up, down, alpha) in _read(path, modules).items()
    }


@pytest.fixture(scope="session")
def read_ranks() -> Callable[..., dict[str, int]]:
    """The rank of every module in a file, by the shape of down."""
    return lambda path, modules=tuple(TABLE): {m: down.shape[0] for m, (_, down, _) in _read(path, modules).items()}


def _read(path: Path, modules: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray, float]]:
    """Module -> up, down and alpha."""
    config = json.loads((path / "adapter_config.json").read_text()) if path.is_dir() else {}
    with safe_open(path / "adapter_model.safetensors" if config else path, framework="pt") as file:
        stored = {key: file.get_tensor(key).double().numpy() for key in sorted(file.keys())}
        stated = json.loads((file.metadata() or {}).get("lora_adapter_metadata", "{}"))
    found = {}
    for module in modules:
        component, _, _ = module.partition(".")
        prefix = f"{component}."
        own = config or {key.removeprefix(prefix): value for key, value in stated.items() if key.startswith(prefix)}
        if (factors := _find(stored, module, own)) is not None:
            found[module] = factors
    return found


def _find(stored: Deltas, module: str, config: dict) -> tuple[np.ndarray, np.ndarray, float] | None:
    name = module.partition(".")[2]
    for stem, ends in (
        (_kohya_stem(module), ("lora_up", "lora_down")),
        (_sgm_stem(module), ("lora_up", "lora_down")),
        (_comfy_stem(module), ("lora_up", "lora_down")),
        (module, ("lora_B", "lora_A")),
        (f"base_model.model.{name}", ("lora_B", "lora_A")),
    ):
        if f"{stem}.{ends[0]}.weight" in stored:
            up, down = (stored[f"{stem}.{end}.weight"] for end in ends)
            alpha = float(stored.get(f"{stem}.alpha", down.shape[0]))
            return up, down, _pattern(config.get("alpha_pattern", {}), name, config.get("lora_alpha", alpha))
    return None


def _pattern(patterns: Mapping[str, float], name: str, otherwise: float) -> float:
    """As PEFT looks a module up: by the end of its name."""
    return next((value for end, value in patterns.items() if f".{name}".endswith(f".{end}")), otherwise)


def _kohya_stem(module: str) -> str:
    component, _, name = module.partition(".")
    return f"{'lora_unet' if component == 'unet' else 'lora_te'}_{name.replace('.', '_')}"


def _original_name(module: str) -> str | None:
    """As the original code names a module, without a prefix; None where this table does not say."""
    for start, name in ORIGINAL.items():
        if module == start or module.startswith(f"{start}."):
            return f"{name}{module.removeprefix(start)}".removeprefix(".")
    return None


def _sgm_stem(module: str) -> str:
    prefix = "lora_unet_" if module.startswith("unet.") else "lora_te_"
    return prefix + str(_original_name(module)).replace(".", "_")


def _comfy_stem(module: str) -> str:
    prefix = "diffusion_model." if module.startswith("unet.") else "text_encoders.clip_l.transformer."
    return prefix + str(_original_name(module))


def _matrix(factor: np.ndarray) -> np.ndarray:
    return factor.reshape(factor.shape[0], -1)


@pytest.fixture(scope="session")
def worst_error() -> Callable[..., float]:
    """max over modules of ||out - sum_i lambda_i dW_i||_F / sum_i |lambda_i| ||dW_i||_F, dense, float64."""

    def worst(out: Deltas, terms: Sequence[tuple[float, Deltas]]) -> float:
        modules = set(out).union(*(deltas for _, deltas in terms))
        return max((_error(out, terms, module) for module in modules), default=0.0)

    return worst


def _error(out: Deltas, terms: Sequence[tuple[float, Deltas]], module: str) -> float:
    own = [(weight, deltas[module]) for weight, deltas in terms if module in deltas]
    scale = sum(abs(weight) * float(np.linalg.norm(delta)) for weight, delta in own)
    difference = float(np.linalg.norm(out.get(module, 0.0) - sum(weight * delta for weight, delta in own)))
    if scale == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / scale


@dataclass
class Workshop:
    """A folder in which vectors and bases are made on demand, and recipes are composed to files."""

    folder: Path
    table: Architecture
    draft: Callable[..., Draft]
    save: Callable[..., Path]
    read: Callable[..., Deltas]
    numbers: Iterator[int] = field(default_factory=count)

    def place(self) -> Path:
        """A path where nothing is."""
        return self.folder / f"{next(self.numbers)}"

    def opened(self, drawn: Draft, layout: Layout = Layout.KOHYA, table: Architecture | None = None) -> Vector:
        """A draft as a file of that layout."""
        return open_vector(self.save(drawn, self.place(), layout), table or self.table)

    def bound(self, text: str, base: Weights | None = None, **opened: Vector | Weights) -> Bound:
        """A recipe of the references that are given by name."""
        return bind(parse(text), opened, base=base)

    def composed(self, text: str, layout: Layout = Layout.KOHYA, base: Weights | None = None, **opened: Any) -> Path:
        """The file of a recipe."""
        combination = self.bound(text, base, **opened).combination
        assert combination is not None
        path = self.place()
        compose(combination, path, layout=layout, dtype=parse(text).dtype, recipe=text, locked=text)
        return path

    def deltas(self, text: str, layout: Layout = Layout.KOHYA, base: Weights | None = None, **opened: Any) -> Deltas:
        """What the oracle reads in the file of a recipe."""
        return self.read(self.composed(text, layout, base, **opened))

    def base(self, seed: int = 0, near: Weights | None = None, by: float = 0.1) -> Weights:
        """A checkpoint of the table's modules and one bias, float64; `near` another, with the same last module."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for module, spec in (*self.table.modules.items(), ("unet.conv_in.bias", ModuleSpec("channel", (10,)))):
            tensor = torch.randn(spec.shape, generator=generator, dtype=torch.float64) * by
            if near is not None:
                keeps = module == tuple(self.table.modules)[-1]
                tensor = near.weight(module).double() + tensor * (not keeps)
            tensors[module] = tensor
        return self.checkpoint(tensors)

    def checkpoint(self, tensors: Mapping[str, torch.Tensor], table: Architecture | None = None) -> Weights:
        """Modules and their tensors as a checkpoint of the original code."""
        path = self.place()
        save_file({_checkpoint_key(module): tensor.contiguous() for module, tensor in tensors.items()}, path)
        return open_weights(path, table or self.table, f"base-{path.name}")


def _checkpoint_key(module: str) -> str:
    owner, end = (module.removesuffix(".bias"), "bias") if module.endswith(".bias") else (module, "weight")
    prefix = "model.diffusion_model." if module.startswith("unet.") else "cond_stage_model.transformer."
    return f"{prefix}{_original_name(owner)}.{end}"


@pytest.fixture(scope="module")
def workshop(
    draft: Callable[..., Draft],
    save: Callable[..., Path],
    read_deltas: Callable[..., Deltas],
    table: Architecture,
) -> Iterator[Workshop]:
    """An empty one for each file of tests."""
    with tempfile.TemporaryDirectory() as folder:
        yield Workshop(Path(folder), table, draft, save, read_deltas)

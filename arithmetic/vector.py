"""A vector on disk: its low-rank modules, read one at a time."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from arithmetic.content import Content
from arithmetic.deltas import LowRank, fitted
from formats import (
    Architecture,
    Factors,
    FolderError,
    Header,
    Layout,
    Located,
    Misfit,
    ModuleSpec,
    component_of,
    locate,
    read_header,
    read_scalars,
)
from formats.adapter_files import PEFT_CONFIG, PEFT_WEIGHTS


@dataclass(frozen=True)
class LowRankSpec:
    """What a header says of one module's factors; `scale` is alpha / rank, and dW = scale * up @ down."""

    module: str
    up_key: str
    down_key: str
    dtype: str
    rank: int
    alpha: float
    alpha_key: str | None = None
    """Where the file holds alpha as a tensor."""

    @property
    def scale(self) -> float:
        """alpha / r."""
        return self.alpha / self.rank


class Vector:
    """A weight file (or PEFT folder) looked up in an architecture. Tensors are read when asked for, and not kept."""

    def __init__(
        self,
        path: Path,
        name: str,
        architecture: Architecture,
        header: Header,
        located: Located,
        sha256: str | None = None,
    ) -> None:
        stored = read_scalars(header, [f.alpha_key for f in located.factors if f.alpha_key is not None])
        self.path = path
        self.name = name
        self.architecture = architecture
        self.layout: Layout = located.layout
        self.modules: dict[str, LowRankSpec] = {f.module: _entry(header, f, stored) for f in located.factors}
        self.unmatched: tuple[str, ...] = located.unmatched
        self.misfits: tuple[Misfit, ...] = located.misfits
        self._content = Content(weights_file(path), sha256)

    def __repr__(self) -> str:
        return f"Vector({self.name!r}, {len(self.modules)} modules, {self.layout}, {self.architecture.name})"

    @property
    def weights_path(self) -> Path:
        """The safetensors file itself: inside the folder when `path` is a PEFT folder."""
        return weights_file(self.path)

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of a pipeline that the vector reaches: unet, text_encoder, text_encoder_2."""
        return tuple(dict.fromkeys(component_of(module) for module in self.modules))

    def spec(self, module: str) -> ModuleSpec:
        """The base's module that `module` adapts."""
        return self.architecture.modules[module]

    @property
    def parts(self) -> tuple[()]:
        """Nothing: it is a file."""
        return ()

    @property
    def origins(self) -> "tuple[tuple[float, Vector], ...]":
        """Itself."""
        return ((1.0, self),)

    @property
    def anchored(self) -> "Mapping[str, LowRankSpec]":
        """The modules whose change depends on the base's weights."""
        return {}

    def delta(self, module: str) -> LowRank:
        """The change of one module."""
        return self.factors(module)

    def factors(self, module: str) -> LowRank:
        """The factors of one module as stored, in the shapes of the base's module.

        Returns:
            up (m, r) or (m, r, 1, 1), down (r, n) or (r, n, k, k) in the file's dtype, and scale = alpha / r.

        Raises:
            ShapeMismatch: the factors do not fit the module.
        """
        entry = self.modules[module]
        factors = LowRank(self._tensor(entry.up_key), self._tensor(entry.down_key), entry.scale)
        return fitted(factors, self.spec(module), f"{self.name}: {module}")

    @property
    def sha256(self) -> str:
        """The digest of the weight file."""
        return self._content.sha256

    @cached_property
    def content(self) -> Hashable:
        """Equal for two vectors exactly when their bytes and alphas are."""
        return self._content, tuple(sorted((module, entry.alpha) for module, entry in self.modules.items()))

    @cached_property
    def _reader(self) -> Any:
        return safe_open(str(self.weights_path), framework="pt", device="cpu")

    def _tensor(self, key: str) -> Tensor:
        tensor: Tensor = self._reader.get_tensor(key)
        return tensor


def open_vector(
    path: Path | str, architecture: Architecture, *, name: str | None = None, sha256: str | None = None
) -> Vector:
    """Look a weight file or PEFT folder up in `architecture`; only its header and its alphas are read.

    `sha256` is the weight file's, where it is known and was verified: then nobody has to hash the file for it.

    Raises:
        FormatError: unreadable, no adapter, or no key of it belongs to this architecture.
    """
    path = Path(path)
    header = read_header(weights_file(path))
    located = locate(header, architecture, _peft_config(path))
    return Vector(path, name or path.stem, architecture, header, located, sha256)


def weights_file(path: Path) -> Path:
    """`path`, or the weight file inside it when it is a PEFT folder."""
    return path / PEFT_WEIGHTS if path.is_dir() else path


def diffusers_state_dict(vector: Vector) -> dict[str, Tensor]:
    """The vector in the keys that diffusers' `load_lora_weights` takes, in float32.

    The scale is folded into up (in float64, rounded once), so that alpha equals rank in every module and a loader that
    gets alphas wrong has none to read.
    """
    state: dict[str, Tensor] = {}
    for module in vector.modules:
        factors = vector.factors(module)
        state[f"{module}.lora_A.weight"] = factors.down.to(torch.float32, copy=True)
        state[f"{module}.lora_B.weight"] = (factors.up.to(torch.float64) * factors.scale).to(torch.float32)
    return state


def _entry(header: Header, factors: Factors, stored: Mapping[str, float]) -> LowRankSpec:
    alpha = factors.alpha if factors.alpha_key is None else stored[factors.alpha_key]
    return LowRankSpec(
        module=factors.module,
        up_key=factors.up,
        down_key=factors.down,
        dtype=header.tensors[factors.down].dtype,
        rank=factors.rank,
        alpha=float(factors.rank) if alpha is None else alpha,
        alpha_key=factors.alpha_key,
    )


def _peft_config(path: Path) -> dict[str, Any] | None:
    if not path.is_dir():
        return None
    try:
        config = json.loads((path / PEFT_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FolderError(f"{path / PEFT_CONFIG}: cannot be read: {error}. Save the adapter again.") from error
    if not isinstance(config, dict):
        raise FolderError(f"{path / PEFT_CONFIG}: not an object. Save the adapter again.")
    return config

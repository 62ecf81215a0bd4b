"""A vector on disk: its modules, of whatever adapter kind, read one at a time."""

import json
from collections.abc import Hashable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from arithmetic.deltas import Delta, LowRank
from arithmetic.errors import AlgebraError, NeedsBase, ShapeMismatch
from arithmetic.sources.content import Content
from arithmetic.sources.entries import ModuleEntry, assemble, dtype_of, entry_of
from arithmetic.sources.source import Source
from formats import (
    AdaptedModule,
    Architecture,
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
    spec_of,
)
from formats.adapter_files import PEFT_CONFIG, PEFT_WEIGHTS
from formats.header import read_numbers

READABLE = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""The dtypes of a delta's tensors; eight bits are widened to sixteen, which hold them exactly."""


class Vector:
    """A weight file (or PEFT folder) looked up in an architecture. Tensors are read when asked for, and not kept.

    `config` is the adapter_config.json of a PEFT folder. Any thread may ask for any module's delta.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        architecture: Architecture,
        header: Header,
        located: Located,
        config: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        scalars = (one.keys[role] for one in located.modules for role in ("alpha", "scalar") if role in one.keys)
        stored = read_scalars(header, scalars)
        self.path = path
        self.name = name
        self.architecture = architecture
        self.header = header
        self._sha256 = sha256
        self.config: Mapping[str, Any] = config or {}
        self.layout: Layout = located.layout
        self.modules: dict[str, ModuleEntry] = {
            one.module: _entry(one, header, spec_of(architecture, one.module), stored) for one in located.modules
        }
        self.unmatched: tuple[str, ...] = located.unmatched
        self.misfits: tuple[Misfit, ...] = located.misfits

    def __repr__(self) -> str:
        return f"Vector({self.name!r}, {len(self.modules)} modules, {self.layout}, {self.architecture.name})"

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the open file, which each process opens for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_reader"}

    @property
    def weights_path(self) -> Path:
        """The safetensors file itself: inside the folder when `path` is a PEFT folder."""
        return weights_file(self.path)

    @property
    def components(self) -> tuple[str, ...]:
        """The parts of a pipeline that the vector reaches: unet, text_encoder, text_encoder_2."""
        return tuple(dict.fromkeys(component_of(module) for module in self.modules))

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """None: it is a file."""
        return ()

    @cached_property
    def anchored(self) -> Mapping[str, ModuleEntry]:
        """The modules whose change depends on the base's weights."""
        return {module: entry for module, entry in self.modules.items() if entry.is_anchored}

    def spec(self, module: str) -> ModuleSpec:
        """The base's module that `module` adapts; of a bias or normalisation (m,)."""
        return spec_of(self.architecture, module)

    @property
    def origins(self) -> "tuple[tuple[float, Vector], ...]":
        """Itself."""
        return ((1.0, self),)

    def delta(self, module: str) -> Delta:
        """The change of one module, symbolic, with its scale; the same bits whenever and from wherever it is asked.

        Raises:
            NeedsBase: the change depends on the base's weights.
            ShapeMismatch: the tensors do not fit the module.
            AlgebraError: a dtype that is no floating-point number.
        """
        entry = self.modules[module]
        if entry.is_anchored:
            raise NeedsBase(
                f"{self.name}: {module}: the change of {entry.title} depends on the base's weights. "
                f"Name a base and write on_base({self.name}; dialect=peft|lycoris|comfy)."
            )
        return self.carrier(module)

    def carrier(self, module: str) -> Delta:
        """As `delta`, of a module with DoRA magnitudes without them: what is added to the base before they apply."""
        entry, spec = self.modules[module], self.spec(module)
        self._check_padding(entry, spec)
        return assemble(entry, spec, lambda role: self.tensor(module, role), f"{self.name}: {module}")

    def factors(self, module: str) -> LowRank:
        """The lossless low-rank form of one module, in the shapes of the base's; a plain LoRA's factors as stored.

        Returns:
            up (m, r) or (m, r, 1, 1), down (r, n) or (r, n, k, k), and the scale that their product is multiplied by.

        Raises:
            AlgebraError: it has none that is smaller than the matrix; and as `delta`.
        """
        factors = self.delta(module).low_rank()
        if factors is None:
            raise AlgebraError(
                f"{self.name}: {module}: {self.modules[module].title} has no low-rank form smaller than its "
                f"{'x'.join(map(str, self.spec(module).shape))} matrix. Reduce it: {self.name} | rank(64)."
            )
        return factors

    def tensor(self, module: str, role: str) -> Tensor:
        """One piece of a module, for computing: eight-bit numbers widened. Raises AlgebraError for integers."""
        key = self.modules[module].keys[role]
        tag = self.header.tensors[key].dtype
        if tag not in READABLE:
            raise AlgebraError(
                f"{self.name}: {key} is {tag}, expected one of {', '.join(sorted(READABLE))}. "
                "Export the vector anew in fp16, bf16 or fp32."
            )
        stored = self.stored(key)
        return stored.to(torch.float16) if tag.startswith("F8") else stored

    def stored(self, key: str) -> Tensor:
        """A tensor of the file as it is."""
        tensor: Tensor = self._reader.get_tensor(key)
        return tensor

    @property
    def sha256(self) -> str:
        """The digest of the weight file."""
        return self._content.sha256

    @cached_property
    def content(self) -> Hashable:
        """Equal for two vectors exactly when their bytes, and what a configuration says about them, are."""
        scales = tuple(sorted((module, entry.scale) for module, entry in self.modules.items()))
        settings = json.dumps(self.config, sort_keys=True) if self.anchored else ""
        return self._content, scales, settings

    @cached_property
    def _content(self) -> Content:
        return Content(self.weights_path, self._sha256)

    @cached_property
    def _reader(self) -> Any:
        return safe_open(str(self.weights_path), framework="pt", device="cpu")

    def _check_padding(self, entry: ModuleEntry, spec: ModuleSpec) -> None:
        """ComfyUI's reshape_weight pads the base's weight before it is adapted; here it may only say what it is."""
        key = entry.keys.get("reshape")
        padded = spec.shape if key is None else tuple(map(int, read_numbers(self.header, key)))
        if padded != spec.shape:
            raise ShapeMismatch(
                f"{self.name}: {entry.module}: pads the base's weight to {list(padded)}, the base has "
                f"{list(spec.shape)}. Use it on a base of that shape."
            )


def open_vector(
    path: Path | str, architecture: Architecture, *, name: str | None = None, sha256: str | None = None
) -> Vector:
    """Look a weight file or PEFT folder up in `architecture`; only its header and its alphas are read.

    `sha256` is the weight file's digest where it is known, to spare reading it.

    Raises:
        FormatError: unreadable, no adapter, or no key of it belongs to this architecture.
    """
    path = Path(path)
    header = read_header(weights_file(path))
    config = _peft_config(path)
    return Vector(path, name or path.stem, architecture, header, locate(header, architecture, config), config, sha256)


def weights_file(path: Path) -> Path:
    """`path`, or the weight file inside it when it is a PEFT folder."""
    return path / PEFT_WEIGHTS if path.is_dir() else path


def _entry(found: AdaptedModule, header: Header, spec: ModuleSpec, stored: Mapping[str, float]) -> ModuleEntry:
    tensors = {role: header.tensors[key] for role, key in found.keys.items()}
    dtype = dtype_of(found, {role: tensor.dtype for role, tensor in tensors.items()})
    return entry_of(found, spec, dtype, {role: tensor.shape for role, tensor in tensors.items()}, stored)


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

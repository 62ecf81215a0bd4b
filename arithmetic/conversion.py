"""Spelling a vector in another layout without touching its numbers: the factors keep every bit, each scale its value.

What `compose` writes has one alpha and everything else folded into up; here alphas stay what they are, so that the
file before and the file after have the same layout-independent hash.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arithmetic.blueprint import ADAPTER_METADATA, WRITTEN_LAYOUTS
from arithmetic.errors import AlgebraError, NotConvertible
from arithmetic.lora_config import Strength, adapter_fields, config_document, name_for_peft
from arithmetic.stream import TORCH_DTYPES, Slot, sync_folder, tensor_stream, write_text
from arithmetic.vector import Vector
from formats import FactorKeys, Header, Layout, component_of, factor_keys, read_header
from formats.adapter_files import PEFT_CONFIG, PEFT_WEIGHTS
from formats.layout_hash import as_typed

ALPHA_TAG = "F32"
"""How an alpha is stored that was a number in a configuration before."""


def convert(vector: Vector, path: Path, layout: Layout, metadata: Mapping[str, str]) -> Path:
    """Write `vector` to `path`, for PEFT a folder, in the keys of `layout` and with the header entries `metadata`.

    Factors keep their dtype and bits, up to a 1x1 kernel that a linear layer's may have; scales keep their values.

    Raises:
        NotConvertible: keys that are no plain low-rank factors, a dtype that is not written, or alphas that PEFT's
            patterns cannot tell apart.
        OSError: `path` exists.
    """
    require_convertible(vector, layout)
    respelling = Respelling(vector, layout)
    if layout is not Layout.PEFT:
        respelling.write(path, metadata)
        return path
    config = json.dumps(config_document(respelling.peft_fields()), indent=2, sort_keys=True)
    path.mkdir()
    respelling.write(path / PEFT_WEIGHTS, metadata)
    write_text(path / PEFT_CONFIG, config)
    sync_folder(path)
    return path


def require_convertible(vector: Vector, layout: Layout) -> None:
    """Raise what `convert` would raise about the vector itself; only its header is read."""
    respelling = Respelling(vector, layout)
    respelling.require_possible()
    if layout is Layout.PEFT:
        respelling.peft_fields()


@dataclass(frozen=True)
class Respelling:
    """A vector and the layout that it is to be written in."""

    vector: Vector
    layout: Layout

    @cached_property
    def header(self) -> Header:
        """The header of the file that is read."""
        return read_header(self.vector.weights_path)

    @cached_property
    def keys(self) -> Mapping[str, FactorKeys]:
        """Module -> its keys."""
        return {module: factor_keys(self.layout, module, self.vector.architecture) for module in self.vector.modules}

    def require_possible(self) -> None:
        """Raise NotConvertible, or AlgebraError for a layout that is read and not written."""
        if self.layout not in WRITTEN_LAYOUTS:
            raise AlgebraError(f"{self.layout}: is read, not written. Write one of {', '.join(WRITTEN_LAYOUTS)}.")
        left = (*self.vector.unmatched, *(misfit.module for misfit in self.vector.misfits))
        if left:
            raise NotConvertible(
                f"{self.vector.name}: {len(left)} keys are no plain low-rank factors of "
                f"{self.vector.architecture.name}, e.g. {left[0]!r}. Take it in the layout that it has."
            )
        strange = {self._tag(key) for entry in self.vector.modules.values() for key in (entry.down_key, entry.up_key)}
        if strange - TORCH_DTYPES.keys():
            raise NotConvertible(
                f"{self.vector.name}: has {', '.join(sorted(strange - TORCH_DTYPES.keys()))} tensors, "
                f"{', '.join(TORCH_DTYPES)} are written. Compose it: tau compose {self.vector.name} --dtype fp32."
            )

    def peft_fields(self) -> dict[str, Any]:
        """LoraConfig's fields for all components at once. Raises NotConvertible where one name means two alphas."""
        strengths: dict[str, Strength] = {}
        for module in self.vector.modules:
            name, strength = name_for_peft(module), self._strength(module)
            if strengths.setdefault(name, strength) != strength:
                raise NotConvertible(
                    f"{self.vector.name}: {name} has {strengths[name]} in one text encoder and {strength} in the "
                    "other, which PEFT's patterns cannot tell apart. Take kohya or diffusers."
                )
        return adapter_fields(strengths)

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the weight file: the widest dtype first, so that every tensor is aligned."""
        tensors = dict(self._slots())
        slots = sorted(tensors, key=lambda slot: -TORCH_DTYPES[slot.tag].itemsize)
        with tensor_stream(path, slots, {**metadata, **self._own_metadata()}) as stream:
            for slot in slots:
                stream.write(slot.key, self._tensor(*tensors[slot]))

    def _slots(self) -> Iterator[tuple[Slot, tuple[str, str]]]:
        """Every tensor to write, with the module and role that it is of."""
        for module, entry in self.vector.modules.items():
            keys, shape = self.keys[module], self.vector.spec(module).shape
            up_shape = (shape[0], entry.rank, *(1 for _ in shape[2:]))
            yield Slot(keys.down, self._tag(entry.down_key), (entry.rank, *shape[1:])), (module, "down")
            yield Slot(keys.up, self._tag(entry.up_key), up_shape), (module, "up")
            if keys.alpha is not None:
                yield Slot(keys.alpha, self._alpha_tag(module), ()), (module, "alpha")

    def _tensor(self, module: str, role: str) -> Tensor:
        if role == "alpha":
            dtype = TORCH_DTYPES[self._alpha_tag(module)]
            return torch.tensor(self.vector.modules[module].alpha, dtype=torch.float64).to(dtype)
        factors = self.vector.factors(module)
        return factors.down if role == "down" else factors.up

    def _own_metadata(self) -> dict[str, str]:
        """What diffusers keeps in the header: one LoraConfig a component."""
        if self.layout is not Layout.DIFFUSERS:
            return {}
        entries: dict[str, Any] = {}
        for component in self.vector.components:
            own = [module for module in self.vector.modules if component_of(module) == component]
            fields = adapter_fields({name_for_peft(module): self._strength(module) for module in own})
            entries |= {f"{component}.{key}": value for key, value in fields.items()}
        return {ADAPTER_METADATA: json.dumps(entries, sort_keys=True)}

    def _strength(self, module: str) -> Strength:
        """Rank and alpha; an alpha that a tensor of few digits holds is the number that was rounded to it."""
        entry = self.vector.modules[module]
        tag = self._stored_alpha_tag(module)
        return Strength(entry.rank, entry.alpha if tag is None else as_typed(entry.alpha, tag))

    def _alpha_tag(self, module: str) -> str:
        tag = self._stored_alpha_tag(module)
        return tag if tag in TORCH_DTYPES else ALPHA_TAG

    def _stored_alpha_tag(self, module: str) -> str | None:
        key = self.vector.modules[module].alpha_key
        return None if key is None else self.header.tensors[key].dtype

    def _tag(self, key: str) -> str:
        return self.header.tensors[key].dtype

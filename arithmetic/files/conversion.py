"""Spelling a vector in another layout without touching its numbers: the pieces keep every bit, each scale its value.

What `compose` writes has one alpha and everything else folded into up; here alphas stay what they are, so that the
file before and the file after have the same layout-independent hash. Every kind is taken where the readers of a
layout know it: LoHa, LoKr, Tucker, GLoRA, OFT, full differences and normalisations in kohya's two dialects and
ComfyUI's, low-rank pairs and their DoRA magnitudes everywhere.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arithmetic.deltas.dora import OUTPUTS
from arithmetic.errors import AlgebraError, NotConvertible
from arithmetic.files.blueprint import ADAPTER_METADATA, WRITTEN_LAYOUTS
from arithmetic.files.lora_config import Strength, adapter_fields, config_document, name_for_peft
from arithmetic.files.stream import TORCH_DTYPES, Slot, sync_folder, tensor_stream, write_text
from arithmetic.sources.anchored import PEFT_MAGNITUDE, magnitude_axes
from arithmetic.sources.entries import ModuleEntry
from arithmetic.sources.vector import Vector
from formats import Layout, component_of
from formats.adapter_files import PEFT_CONFIG, PEFT_WEIGHTS
from formats.layout_hash import as_typed
from formats.role_keys import ROLE_ENDS, role_key

ALPHA_TAG = "F32"
"""How an alpha is stored that was a number in a configuration before."""

WITH_CONFIGURATION = frozenset({Layout.DIFFUSERS, Layout.PEFT})
"""Layouts that keep alphas in a LoraConfig, and hold nothing else."""

WHOLE_NUMBERS = frozenset({"on_input", "reshape", "alpha"})
"""Roles whose tensors may hold integers."""

INTEGER_TAG = "I64"


class Piece(NamedTuple):
    """One tensor to write: of which module, in which role, under which key of the source; None for an alpha that
    was in a configuration."""

    module: str
    role: str
    source: str | None


def convert(vector: Vector, path: Path, layout: Layout, metadata: Mapping[str, str]) -> Path:
    """Write `vector` to `path`, for PEFT a folder, in the keys of `layout` and with the header entries `metadata`.

    Pieces keep their dtype and bits, factors and magnitudes up to a 1x1 kernel that a linear layer's may have; scales
    keep their values.

    Raises:
        NotConvertible: keys that no module explains, a kind that the layout's readers do not know, a dtype that is
            not written, or alphas that PEFT's patterns cannot tell apart.
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
    def pieces(self) -> Sequence[Piece]:
        """Every tensor to write; one that two modules share once."""
        found: dict[str | Piece, Piece] = {}
        for module, entry in self.vector.modules.items():
            for role, source in self._roles(entry).items():
                piece = Piece(module, role, source)
                found.setdefault(source or piece, piece)
        return tuple(found.values())

    def require_possible(self) -> None:
        """Raise NotConvertible, or AlgebraError for a layout that is read and not written."""
        if self.layout not in WRITTEN_LAYOUTS:
            raise AlgebraError(f"{self.layout}: is read, not written. Write one of {', '.join(WRITTEN_LAYOUTS)}.")
        left = (*self.vector.unmatched, *(misfit.module for misfit in self.vector.misfits))
        if left:
            raise NotConvertible(
                f"{self.vector.name}: {len(left)} keys are no whole piece of a module of "
                f"{self.vector.architecture.name}, e.g. {left[0]!r}. Take it in the layout that it has."
            )
        for entry in self.vector.modules.values():
            reason = self._refusal(entry)
            if reason is not None:
                raise NotConvertible(f"{self.vector.name}: {entry.module}: {reason} Take it in the layout that it has.")
        if self.layout in WITH_CONFIGURATION:
            self._require_uniform("magnitude", "DoRA magnitudes")
            self._require_uniform("up_bias", "biases")
        self._require_dtypes()

    def peft_fields(self) -> dict[str, Any]:
        """LoraConfig's fields for all components at once. Raises NotConvertible where one name means two alphas."""
        strengths: dict[str, Strength] = {}
        for module in self._weights(*self.vector.components):
            name, strength = name_for_peft(module), self._strength(module)
            if strengths.setdefault(name, strength) != strength:
                raise NotConvertible(
                    f"{self.vector.name}: {name} has {strengths[name]} in one text encoder and {strength} in the "
                    "other, which PEFT's patterns cannot tell apart. Take kohya or diffusers."
                )
        return {**adapter_fields(strengths), **self._variants(*self.vector.components)}

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the weight file: the widest dtype first, so that every tensor is aligned."""
        slots = {self._slot(piece): piece for piece in self.pieces}
        ordered = sorted(slots, key=lambda slot: -TORCH_DTYPES[slot.tag].itemsize)
        with tensor_stream(path, ordered, {**metadata, **self._own_metadata()}) as stream:
            for slot in ordered:
                stream.write(slot.key, self._tensor(slots[slot], slot))

    def _roles(self, entry: ModuleEntry) -> dict[str, str | None]:
        """The pieces of a module by role; an alpha where the layout has one for each module and the kind a scale."""
        roles: dict[str, str | None] = dict(entry.keys)
        if self.layout in WITH_CONFIGURATION:
            roles.pop("alpha", None)
        elif entry.alpha is not None:
            roles.setdefault("alpha", None)
        order = list(ROLE_ENDS[self.layout])
        return dict(sorted(roles.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))

    def _refusal(self, entry: ModuleEntry) -> str | None:
        """Why the layout cannot hold a module; None where it can."""
        unknown = [role for role in self._roles(entry) if role not in ROLE_ENDS[self.layout]]
        if unknown:
            return f"no reader of {self.layout} knows {entry.title}'s {' and '.join(unknown)}."
        if entry.kind == "ia3" and "on_input" not in entry.keys:
            return "PEFT's IA3 multiplies by its numbers, LyCORIS by 1 more: no other layout says which."
        if entry.kind == "lokr" and "alpha" not in entry.keys and {"lokr_w1", "lokr_w2"} <= entry.keys.keys():
            return None if entry.scale == 1 else f"readers of {self.layout} scale a LoKr of whole factors by 1."
        if "magnitude" in entry.keys and self.layout in WITH_CONFIGURATION:
            return None if self._is_by_output(entry) else "PEFT's magnitudes belong to outputs, these to inputs."
        return None

    def _is_by_output(self, entry: ModuleEntry) -> bool:
        is_table = self.vector.spec(entry.module).kind == "embedding"
        return is_table or magnitude_axes(self.vector, entry) == OUTPUTS

    def _require_uniform(self, role: str, title: str) -> None:
        """A LoraConfig has DoRA, or biases, in all its modules or in none."""
        for components in self._configurations():
            weights = self._weights(*components)
            having = sum(role in self.vector.modules[m].keys for m in self._modules(*components))
            if 0 < having < len(weights):
                raise NotConvertible(
                    f"{self.vector.name}: {having} of {len(weights)} modules have {title}, and a LoraConfig has them "
                    "in all or in none. Take kohya."
                )

    def _require_dtypes(self) -> None:
        tags = {(piece.role, self._stored_tag(piece)) for piece in self.pieces}
        strange = {
            tag
            for role, tag in tags
            if role != "alpha" and (tag not in TORCH_DTYPES or (tag == INTEGER_TAG and role not in WHOLE_NUMBERS))
        }
        if strange:
            raise NotConvertible(
                f"{self.vector.name}: has {', '.join(sorted(strange))} tensors, "
                f"{', '.join(TORCH_DTYPES)} are written. Compose it: tau compose {self.vector.name} --dtype fp32."
            )

    def _slot(self, piece: Piece) -> Slot:
        key = role_key(self.layout, piece.module, piece.role, self.vector.architecture)
        tag = self._stored_tag(piece)
        return Slot(key, tag if tag in TORCH_DTYPES else ALPHA_TAG, self._shape(piece))

    def _shape(self, piece: Piece) -> tuple[int, ...]:
        """Plain factors as the base's module, magnitudes as the layout's readers keep them, others as stored."""
        entry, spec = self.vector.modules[piece.module], self.vector.spec(piece.module)
        if piece.role == "alpha":
            return ()
        stored = self.vector.header.tensors[entry.keys[piece.role]].shape
        ones = tuple(1 for _ in spec.shape[2:])
        if piece.role == "magnitude" and self.layout in WITH_CONFIGURATION:
            return (1, prod(stored), *ones) if ones else (prod(stored),)
        if piece.role == "magnitude" and PEFT_MAGNITUDE in entry.keys[piece.role]:
            return (prod(stored), 1, *ones)
        if piece.role in ("down", "up") and "mid" not in entry.keys:
            rank = entry.dim or 0
            return (rank, *spec.shape[1:]) if piece.role == "down" else (spec.shape[0], rank, *ones)
        return stored

    def _tensor(self, piece: Piece, slot: Slot) -> Tensor:
        if piece.source is None:
            return torch.tensor(self.vector.modules[piece.module].alpha, dtype=torch.float64).to(TORCH_DTYPES[slot.tag])
        return self.vector.stored(piece.source).to(TORCH_DTYPES[slot.tag]).reshape(slot.shape)

    def _own_metadata(self) -> dict[str, str]:
        """What diffusers keeps in the header: one LoraConfig a component."""
        if self.layout is not Layout.DIFFUSERS:
            return {}
        entries: dict[str, Any] = {}
        for component in self.vector.components:
            own = self._weights(component)
            fields = adapter_fields({name_for_peft(module): self._strength(module) for module in own})
            entries |= {f"{component}.{key}": value for key, value in (fields | self._variants(component)).items()}
        return {ADAPTER_METADATA: json.dumps(entries, sort_keys=True)}

    def _configurations(self) -> list[tuple[str, ...]]:
        """The components that share a LoraConfig."""
        components = self.vector.components
        return [components] if self.layout is Layout.PEFT else [(component,) for component in components]

    def _variants(self, *components: str) -> dict[str, Any]:
        """What a LoraConfig says of all its modules beside ranks and alphas."""
        roles = {role for module in self._modules(*components) for role in self.vector.modules[module].keys}
        variants: dict[str, Any] = {"use_dora": True} if "magnitude" in roles else {}
        return variants | ({"lora_bias": True} if "up_bias" in roles else {})

    def _modules(self, *components: str) -> list[str]:
        return [module for module in self.vector.modules if component_of(module) in components]

    def _weights(self, *components: str) -> list[str]:
        """The modules of the table, biases apart."""
        return [module for module in self._modules(*components) if module in self.vector.architecture.modules]

    def _strength(self, module: str) -> Strength:
        """Rank and alpha; an alpha that a tensor of few digits holds is the number that was rounded to it."""
        entry = self.vector.modules[module]
        alpha, key = entry.alpha or 0.0, entry.alpha_key
        return Strength(
            entry.dim or 0, alpha if key is None else as_typed(alpha, self.vector.header.tensors[key].dtype)
        )

    def _stored_tag(self, piece: Piece) -> str:
        return ALPHA_TAG if piece.source is None else self.vector.header.tensors[piece.source].dtype

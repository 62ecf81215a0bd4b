"""Changes that depend on the base's weights, as a named reader would make them: `on_base(0.8*a; dialect=lycoris)`.

PEFT, LyCORIS and ComfyUI read one file and make different weights of it, most of all at strengths other than 1, so
the reader is always named. A form that a reader does not know is refused before anything is computed.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor

from arithmetic.deltas import Delta, Dense, Hadamard, Kronecker, LowRank, Tucker, widened
from arithmetic.deltas.dora import INPUTS, OUTPUTS, Axes, comfy_dora, lycoris_dora, peft_dora
from arithmetic.deltas.glora import glora, is_first_version
from arithmetic.deltas.ia3 import lycoris_ia3, peft_ia3
from arithmetic.deltas.rotation import (
    CayleySettings,
    comfy_boft,
    comfy_oft,
    lycoris_boft,
    lycoris_oft,
    peft_boft,
    peft_oft,
)
from arithmetic.errors import DialectRefused, ShapeMismatch
from arithmetic.sources.entries import ModuleEntry
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector
from formats import Architecture, ModuleSpec, component_of
from formats.adapted_modules import is_ia3_of_inputs
from formats.spellings import inner_names

AnchorDialect = Literal["peft", "lycoris", "comfy"]
ANCHOR_DIALECTS: tuple[AnchorDialect, ...] = ("peft", "lycoris", "comfy")

PEFT_MAGNITUDE = ".lora_magnitude_vector"


class BaseWeights(Protocol):
    """The base that a change depends on."""

    @property
    def content(self) -> Hashable:
        """Equal for two bases exactly when their weights are."""

    def weight(self, module: str) -> Tensor:
        """The weight of a module, or a bias, in the base's shape and dtype."""


@dataclass(frozen=True)
class Anchor:
    """One module of a vector before a base's weight of (m, n, k*k) in float64; of a bias (m, 1, 1)."""

    vector: Vector
    entry: ModuleEntry
    spec: ModuleSpec
    base: Tensor
    strength: float

    def tensor(self, role: str) -> Tensor:
        """A piece in float64."""
        return widened(self.vector.tensor(self.entry.module, role))

    @property
    def rescale(self) -> Tensor | None:
        """A rotation's factor for each output, where it has one."""
        return self.tensor("rescale") if "rescale" in self.entry.keys else None

    @property
    def constraint(self) -> float:
        """A rotation's; 0, which is none, where the file has no alpha."""
        return self.entry.constraint or 0.0

    @property
    def rows(self) -> Tensor:
        """The base's weight as (m, n*k*k)."""
        return self.base.flatten(1)


@dataclass(frozen=True)
class OnBase:
    """A vector at a strength on a base: its anchored modules as the dialect makes them, the others times the strength.

    Raises DialectRefused when it is made with a vector that has a module which the dialect does not know.
    """

    strength: float
    vector: Vector
    dialect: AnchorDialect
    weights: BaseWeights

    def __post_init__(self) -> None:
        require_dialect(self.vector, self.dialect, self.strength)

    @property
    def name(self) -> str:
        """As a recipe has it."""
        return f"on_base({self.strength:g}*{self.vector.name}; dialect={self.dialect})"

    @property
    def architecture(self) -> Architecture:
        """The vector's."""
        return self.vector.architecture

    @property
    def modules(self) -> Mapping[str, ModuleEntry]:
        """The vector's."""
        return self.vector.modules

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The vector."""
        return ((self.strength, self.vector),)

    @property
    def origins(self) -> tuple[()]:
        """Nothing: the vector is a part."""
        return ()

    @cached_property
    def content(self) -> Hashable:
        """Of the vector, the strength, and the base where it matters."""
        base = (self.dialect, self.weights.content) if self.vector.anchored else ()
        return ("on_base", self.strength, self.vector.content, base)

    def delta(self, module: str) -> Delta:
        """What is added to the base's weight. Raises as `anchored_delta` and `Vector.delta`."""
        if self.modules[module].is_anchored:
            base = self.weights.weight(module)
            return anchored_delta(self.vector, module, base, self.strength, self.dialect)
        return _scaled(self.vector.delta(module), self.strength)


def anchored_delta(vector: Vector, module: str, base_weight: Tensor, strength: float, dialect: AnchorDialect) -> Dense:
    """What `dialect` adds to `base_weight` for an anchored module of `vector` at `strength`; the matrix is float64.

    Args:
        vector: the file.
        module: one of `vector.anchored`.
        base_weight: (m, n[, k, k]), of a bias or normalisation (m,); any floating dtype.
        strength: what a recipe multiplies the vector by.
        dialect: whose semantics; each kind's functions in arithmetic/deltas say where they differ.

    Raises:
        DialectRefused: the dialect does not know the module's kind, or not at this strength.
        ShapeMismatch: the base's weight is not of the module's shape.
    """
    entry, spec = vector.anchored[module], vector.spec(module)
    _require(vector, entry, dialect, strength)
    if base_weight.numel() != torch.Size(spec.shape).numel() or base_weight.shape[0] != spec.shape[0]:
        raise ShapeMismatch(
            f"{vector.name}: {module}: the base's weight is {list(base_weight.shape)}, the table says "
            f"{list(spec.shape)}. Use the base that the table was made from."
        )
    inputs = spec.shape[1] if len(spec.shape) > 1 else 1
    anchor = Anchor(vector, entry, spec, widened(base_weight).reshape(spec.shape[0], inputs, -1), strength)
    return Dense(RULES[dialect, form_of(entry)](anchor).reshape(spec.shape[0], -1))


def require_dialect(vector: Vector, dialect: AnchorDialect, strength: float) -> None:
    """Raise DialectRefused when `dialect` does not know a module of `vector`, or not at this strength."""
    for entry in vector.anchored.values():
        _require(vector, entry, dialect, strength)


def form_of(entry: ModuleEntry) -> str:
    """How an anchored module's change is written: the kind, with PEFT's own spelling of it apart."""
    keys = entry.keys
    if "magnitude" in keys:
        return "dora"
    if "set_weight" in keys:
        return "set_weight"
    is_pefts = "oft_r" in keys or "boft_r" in keys or (entry.kind == "ia3" and "on_input" not in keys)
    return f"peft-{entry.kind}" if is_pefts else entry.kind


def magnitude_axes(vector: Vector, entry: ModuleEntry) -> Axes:
    """Whether DoRA's magnitudes belong to outputs or inputs: PEFT's to outputs, those of (1, n, ...) to inputs.

    An embedding's table is (count, width), and PEFT has a magnitude for each of its columns.
    """
    key, spec = entry.keys["magnitude"], vector.spec(entry.module)
    if PEFT_MAGNITUDE in key:
        return INPUTS if spec.kind == "embedding" else OUTPUTS
    shape = vector.header.tensors[key].shape
    if len(shape) > 1:
        return INPUTS if shape[0] == 1 and spec.shape[0] != 1 else OUTPUTS
    return OUTPUTS if shape[0] == spec.shape[0] else INPUTS


def _require(vector: Vector, entry: ModuleEntry, dialect: AnchorDialect, strength: float) -> None:
    reason = _refusal(vector, entry, dialect, strength)
    if reason is not None:
        known = [one for one in ANCHOR_DIALECTS if one != dialect and _refusal(vector, entry, one, strength) is None]
        remedy = f"Write dialect={' or '.join(known)}." if known else "No dialect does: leave the vector out."
        raise DialectRefused(f"{vector.name}: {entry.module}: {entry.title}: {reason} {remedy}")


def _refusal(vector: Vector, entry: ModuleEntry, dialect: AnchorDialect, strength: float) -> str | None:
    """Why `dialect` cannot apply a module; None where it can."""
    form = form_of(entry)
    if (dialect, form) not in RULES:
        return f"{READERS[dialect]} does not read {FORM_TITLES[form]}."
    if form in STRENGTHLESS and strength != 1:
        return f"PEFT has no strength but 1 for it, got {strength:g}."
    return CONDITIONS.get((dialect, form), _no_condition)(vector, entry)


def _no_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    return None


def _peft_dora_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    is_pair = not entry.keys.keys().isdisjoint({"down", "embedding_down"})
    if not is_pair or "mid" in entry.keys:
        return "PEFT has DoRA on plain low-rank pairs alone."
    is_embedding = vector.spec(entry.module).kind == "embedding"
    if magnitude_axes(vector, entry) != (INPUTS if is_embedding else OUTPUTS):
        return "PEFT's magnitudes belong to outputs, these to inputs."
    return None


def _comfy_dora_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    if len(vector.header.tensors[entry.keys["magnitude"]].shape) < 2:
        return "ComfyUI spreads magnitudes of one axis over the wrong one (its issue 12938)."
    return None


def _lycoris_glora_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    return "LyCORIS 4 no longer reads its first version's order." if _is_first_glora(vector, entry) else None


def _comfy_glora_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    is_spatial = torch.Size(vector.spec(entry.module).shape[2:]).numel() > 1
    return (
        "ComfyUI fails at the first version's convolutions." if is_spatial and _is_first_glora(vector, entry) else None
    )


def _comfy_boft_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    return "ComfyUI fails without an alpha." if entry.constraint is None else None


def _peft_oft_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    if len(vector.header.tensors[entry.keys["oft_r"]].shape) != 2 or "oft_s" in entry.keys:
        return "PEFT reads what it wrote before version 0.14 no longer."
    return None if vector.config else "the folder's adapter_config.json says how PEFT turns, and is not there."


def _peft_ia3_condition(vector: Vector, entry: ModuleEntry) -> str | None:
    if _ia3_is_of_inputs(vector, entry) is None:
        return "whether it multiplies inputs or outputs is in adapter_config.json, which is not there."
    return None


def _dora(semantics: Callable[[Tensor, Tensor, Tensor, Axes, float], Tensor]) -> Callable[[Anchor], Tensor]:
    def apply(at: Anchor) -> Tensor:
        change = at.vector.carrier(at.entry.module).dense().reshape(at.base.shape)
        return semantics(at.base, change, at.tensor("magnitude"), magnitude_axes(at.vector, at.entry), at.strength)

    return apply


def _set_weight(at: Anchor) -> Tensor:
    """set_weight - W0, whatever the strength (ComfyUI, comfy/lora.py: the weight is overwritten)."""
    return at.tensor("set_weight").reshape(at.base.shape) - at.base


def _glora(at: Anchor) -> Tensor:
    a1, a2, b1, b2 = (at.tensor(role).flatten(1) for role in ("a1", "a2", "b1", "b2"))
    a, b = ((a2, a1), (b2, b1)) if _is_first_glora(at.vector, at.entry) else ((a1, a2), (b1, b2))
    return glora(at.base, a, b, at.strength * at.entry.scale)


def _is_first_glora(vector: Vector, entry: ModuleEntry) -> bool:
    a1, b1 = (vector.header.tensors[entry.keys[role]].shape for role in ("a1", "b1"))
    return is_first_version(a1, b1, vector.spec(entry.module).shape)


def _lycoris_ia3(at: Anchor) -> Tensor:
    is_of_inputs = bool(at.vector.stored(at.entry.keys["on_input"]).item())
    return lycoris_ia3(at.base, at.tensor("ia3_l"), is_of_inputs, at.strength)


def _peft_ia3(at: Anchor) -> Tensor:
    is_of_inputs = bool(_ia3_is_of_inputs(at.vector, at.entry))
    if at.spec.kind != "channel":
        return peft_ia3(at.base, at.tensor("ia3_l"), is_of_inputs)
    return torch.zeros_like(at.base) if is_of_inputs else peft_ia3(at.base, at.tensor("ia3_l"), False)


def _ia3_is_of_inputs(vector: Vector, entry: ModuleEntry) -> bool | None:
    """Of a bias, whether the vector of its module is."""
    module = entry.module.removesuffix(".bias")
    spec, shape = vector.spec(module), vector.header.tensors[entry.keys["ia3_l"]].shape
    return is_ia3_of_inputs(shape, spec, _is_feedforward(vector.config, module))


def _is_feedforward(config: Mapping[str, object], module: str) -> bool | None:
    """As PEFT matches feedforward_modules: one expression for the whole name, or a list of ends."""
    patterns, component = config.get("feedforward_modules"), component_of(module)
    names = inner_names(component, module.removeprefix(f"{component}."))
    if isinstance(patterns, str):
        return any(re.fullmatch(patterns, name) for name in names)
    return any(name.endswith(tuple(patterns)) for name in names) if isinstance(patterns, list) else None


def _scaled(delta: Delta, strength: float) -> Delta:
    if isinstance(delta, LowRank | Dense | Tucker | Hadamard | Kronecker):
        return replace(delta, scale=delta.scale * strength)
    return Dense(delta.dense(), strength)


READERS: Mapping[AnchorDialect, str] = {"peft": "PEFT", "lycoris": "LyCORIS", "comfy": "ComfyUI"}

FORM_TITLES: Mapping[str, str] = {
    "dora": "DoRA magnitudes",
    "set_weight": "set_weight",
    "glora": "GLoRA",
    "oft": "oft_blocks",
    "boft": "oft_blocks in a butterfly",
    "ia3": "IA3 with on_input",
    "peft-oft": "oft_R",
    "peft-boft": "boft_R",
    "peft-ia3": "ia3_l",
}

STRENGTHLESS = frozenset({"peft-oft", "peft-boft", "peft-ia3"})
"""Forms that PEFT applies whole or not at all."""

RULES: Mapping[tuple[AnchorDialect, str], Callable[[Anchor], Tensor]] = {
    ("peft", "dora"): _dora(peft_dora),
    ("lycoris", "dora"): _dora(lycoris_dora),
    ("comfy", "dora"): _dora(comfy_dora),
    ("peft", "peft-oft"): lambda at: peft_oft(at.rows, at.tensor("oft_r"), CayleySettings.parse(at.vector.config)),
    ("peft", "peft-boft"): lambda at: peft_boft(at.rows, at.tensor("boft_r"), at.tensor("boft_s")),
    ("peft", "peft-ia3"): _peft_ia3,
    ("lycoris", "oft"): lambda at: lycoris_oft(
        at.rows, at.tensor("oft_blocks"), at.rescale, at.constraint, at.strength
    ),
    ("lycoris", "boft"): lambda at: lycoris_boft(
        at.rows, at.tensor("oft_blocks"), at.rescale, at.constraint, at.strength
    ),
    ("lycoris", "glora"): _glora,
    ("lycoris", "ia3"): _lycoris_ia3,
    ("comfy", "oft"): lambda at: comfy_oft(at.rows, at.tensor("oft_blocks"), at.constraint, at.strength),
    ("comfy", "boft"): lambda at: comfy_boft(at.rows, at.tensor("oft_blocks"), at.rescale, at.constraint, at.strength),
    ("comfy", "glora"): _glora,
    ("comfy", "set_weight"): _set_weight,
}
"""Which reader applies which form, and how."""

CONDITIONS: Mapping[tuple[AnchorDialect, str], Callable[[Vector, ModuleEntry], str | None]] = {
    ("peft", "dora"): _peft_dora_condition,
    ("comfy", "dora"): _comfy_dora_condition,
    ("lycoris", "glora"): _lycoris_glora_condition,
    ("comfy", "glora"): _comfy_glora_condition,
    ("comfy", "boft"): _comfy_boft_condition,
    ("peft", "peft-oft"): _peft_oft_condition,
    ("peft", "peft-ia3"): _peft_ia3_condition,
}
"""What a reader refuses of a form that it knows: the reason, or None."""

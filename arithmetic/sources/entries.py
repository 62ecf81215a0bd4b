"""What a header says of one adapted module, and the delta that its tensors make."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arithmetic.deltas import Delta, Dense, Factored, Hadamard, Kronecker, LowRank, Tucker, fitted
from formats import AdaptedModule, ModuleSpec
from formats.vectors import NEEDS_BASE

MODIFIERS = frozenset({"alpha", "magnitude", "scalar", "reshape", "rescale", "on_input"})
"""Roles beside those that a kind is made of."""

ROTATIONS = frozenset({"oft", "boft"})
"""Kinds whose alpha is no scale but the constraint of the rotation."""

Tensors = Callable[[str], Tensor]
"""Role -> the tensor."""


@dataclass(frozen=True)
class ModuleEntry:
    """One module of a vector: `keys` is role -> key, `rank` the largest rank of its delta, None for a matrix.

    dW is multiplied by scalar * alpha / dim, where the kind has a scale.
    """

    module: str
    kind: str
    keys: Mapping[str, str]
    dtype: str
    rank: int | None
    dim: int | None
    alpha: float | None
    scalar: float = 1.0
    constraint: float | None = None
    """What an OFT or BOFT file keeps as alpha: the largest norm of the rotation's generator, per output (LyCORIS)."""

    @property
    def scale(self) -> float:
        """scalar * alpha / dim: what the product of the factors is multiplied by."""
        return self.scalar if self.alpha is None or self.dim is None else self.scalar * self.alpha / self.dim

    @property
    def alpha_key(self) -> str | None:
        """Where the file holds alpha as a tensor."""
        return self.keys.get("alpha")

    @property
    def up_key(self) -> str:
        """Of a low-rank module."""
        return self.keys["up"]

    @property
    def down_key(self) -> str:
        """Of a low-rank module."""
        return self.keys["down"]

    @property
    def is_plain(self) -> bool:
        """Whether it is a pair of factors and nothing else."""
        return {"down", "up"} <= self.keys.keys() <= {"down", "up", "alpha"}

    @property
    def is_anchored(self) -> bool:
        """Whether its change depends on the base's weights."""
        return self.kind in NEEDS_BASE or not self.keys.keys().isdisjoint({"magnitude", "set_weight"})

    @property
    def title(self) -> str:
        """The kind as messages call it."""
        if "set_weight" in self.keys:
            return "set_weight"
        return f"{self.kind}+dora" if "magnitude" in self.keys else self.kind


def entry_of(
    found: AdaptedModule,
    spec: ModuleSpec,
    dtype: str,
    shapes: Mapping[str, tuple[int, ...]],
    stored: Mapping[str, float],
) -> ModuleEntry:
    """The entry of a located module; `shapes` are its tensors' by role, `stored` the scalars of the file by key."""
    own = None if found.alpha_key is None else stored[found.alpha_key]
    scalar = found.keys.get("scalar")
    entry = ModuleEntry(
        module=found.module,
        kind=found.kind,
        keys=found.keys,
        dtype=dtype,
        rank=None,
        dim=found.dim,
        alpha=None if found.dim is None else found.alpha if own is None else own,
        scalar=1.0 if scalar is None else stored[scalar],
        constraint=own if found.kind in ROTATIONS else None,
    )
    return entry if entry.is_anchored else _ranked(entry, spec, shapes)


def dtype_of(found: AdaptedModule, dtypes: Mapping[str, str]) -> str:
    """The dtype of the pieces that the kind is made of, by role; down's of a low-rank pair."""
    pieces = [role for role in found.keys if role not in MODIFIERS]
    return dtypes["down" if "down" in found.keys else pieces[0]]


def assemble(entry: ModuleEntry, spec: ModuleSpec, tensor: Tensors, where: str) -> Delta:
    """The delta of a module in the shapes of the base's; of one with magnitudes what these are applied to.

    Raises ShapeMismatch for factors that do not fit.
    """
    keys, scale = entry.keys, entry.scale
    if "mid" in keys:
        up, down = tensor("up").flatten(1), tensor("down").flatten(1)
        return Tucker(Factored(up, down, tensor("mid")), scale, spec.shape)
    if "down" in keys:
        return fitted(LowRank(tensor("up"), tensor("down"), scale), spec, where)
    if "embedding_down" in keys:
        return fitted(LowRank(tensor("embedding_down").T, tensor("embedding_up").T, scale), spec, where)
    if entry.kind == "loha":
        first, second = (_factored(f"hada_w{i}", f"hada_t{i}", keys, tensor) for i in (1, 2))
        return Hadamard(first, second, scale, spec.shape)
    if entry.kind == "lokr":
        return Kronecker(_side(1, keys, tensor), _side(2, keys, tensor), scale, spec.shape)
    role = next(role for role in keys if role not in MODIFIERS)
    return Dense(tensor(role).reshape(spec.shape[0], -1), scale)


def _ranked(entry: ModuleEntry, spec: ModuleSpec, shapes: Mapping[str, tuple[int, ...]]) -> ModuleEntry:
    """With the rank of the delta that tensors of these shapes make."""
    if entry.is_plain:
        return replace(entry, rank=entry.dim)
    delta = assemble(entry, spec, lambda role: torch.empty(shapes[role], device="meta"), entry.module)
    return replace(entry, rank=delta.rank)


def _factored(stem: str, core: str, keys: Mapping[str, str], tensor: Tensors) -> Factored:
    """a @ b; with a core a is stored turned, (r, m)."""
    a, b = tensor(f"{stem}_a"), tensor(f"{stem}_b")
    return Factored(a.T, b, tensor(core)) if core in keys else Factored(a, b)


def _side(number: int, keys: Mapping[str, str], tensor: Tensors) -> Tensor | Factored:
    stem = f"lokr_w{number}"
    return tensor(stem) if stem in keys else _factored(stem, f"lokr_t{number}", keys, tensor)

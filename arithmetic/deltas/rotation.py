"""OFT and BOFT: the base's weight turned by orthogonal matrices.

Qiu et al. 2023 (2306.07280) and Liu et al. 2023 (2311.06243). LyCORIS and kohya turn the outputs, PEFT the inputs. W0
is (m, N), N = n*k*k. Cayley's transform makes a rotation of a skew-symmetric generator Q. Each function returns what is
added to W0, in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8
"""What LyCORIS, kohya and ComfyUI add to a generator's norm before they compare it with its limit."""


def lycoris_oft(base: Tensor, blocks: Tensor, rescale: Tensor | None, constraint: float, strength: float) -> Tensor:
    """rescale * (strength (R - I) + I)^T W0 - W0, block by block (lycoris-lora 4.1, modules/diag_oft.py).

    `blocks` (c, b, b) with c b = m; the norm of all generators together is at most constraint * m, where that is
    above 0. `rescale` (m, ...) counts whole at any strength.
    """
    R = _rotations(blocks, constraint * base.shape[0])
    turned = _turned(strength * (R - _identity(R)) + _identity(R), base)
    return (turned if rescale is None else rescale.reshape(-1, 1) * turned) - base


def comfy_oft(base: Tensor, blocks: Tensor, constraint: float, strength: float) -> Tensor:
    """strength^2 (R - I)^T W0 (ComfyUI, comfy/weight_adapter/oft.py): the strength is multiplied in twice.

    The limit is the constraint itself, not times m, and `rescale` is read and not used.
    """
    R = _rotations(blocks, constraint)
    return strength**2 * _turned(R - _identity(R), base)


def lycoris_boft(base: Tensor, blocks: Tensor, rescale: Tensor | None, constraint: float, strength: float) -> Tensor:
    """rescale * B_s ... B_2 B_1 W0 - W0, each stage B = strength R + (1 - strength) I.

    As lycoris-lora 4.1, functional/boft.py. `blocks` (s, c, b, b) with c b = m; stage i mixes rows 2^i b / 2 apart.
    """
    return _butterfly(base, blocks, rescale, constraint * base.shape[0], strength)


def comfy_boft(base: Tensor, blocks: Tensor, rescale: Tensor | None, constraint: float, strength: float) -> Tensor:
    """strength times what LyCORIS adds, with the constraint itself as limit (ComfyUI, comfy/weight_adapter/boft.py)."""
    return strength * _butterfly(base, blocks, rescale, constraint, strength)


@dataclass(frozen=True)
class CayleySettings:
    """How PEFT's OFT makes rotations of its numbers: exactly or by a series of `terms`; `reach` limits generators."""

    terms: int | None
    reach: float | None

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "CayleySettings":
        """Of an adapter_config.json; what it does not say is as in PEFT before it had it: exact, and no limit."""
        terms = config.get("num_cayley_neumann_terms", 5) if config.get("use_cayley_neumann", False) else None
        return cls(terms, float(config.get("eps", 6e-5)) if config.get("coft", False) else None)


def peft_oft(base: Tensor, numbers: Tensor, settings: CayleySettings) -> Tensor:
    """W0 diag(R)^T - W0 with R of (b, b) for each block of inputs (peft 0.21, tuners/oft/layer.py).

    `numbers` (c, b (b - 1) / 2) are the upper triangles of the generators, with c b = N; one alone serves all.
    """
    Q = _skew(numbers)
    if settings.reach is not None:
        Q = _within(Q, settings.reach / Q.shape[0] ** 0.5)
    R = _cayley(-Q) if settings.terms is None else _series(Q, settings.terms)
    columns = base.reshape(base.shape[0], -1, R.shape[-1])
    return torch.einsum("ocb,cab->oca", columns, R.expand(columns.shape[1], -1, -1)).reshape(base.shape) - base


def peft_boft(base: Tensor, blocks: Tensor, sizes: Tensor) -> Tensor:
    """sizes * W0 (B_s ... B_1)^T - W0 (peft 0.21, tuners/boft/layer.py).

    `blocks` (s, c, b, b) with c b = N, generators (X - X^T) / 2; `sizes` has one number for each output.
    """
    turned = base.T
    for stage, X in enumerate(blocks):
        order = _butterfly_order(turned.shape[0], X.shape[-1], stage) if len(blocks) > 1 else None
        turned = _shuffled(_cayley(-(X - X.mT) / 2), turned, order)
    return sizes.reshape(-1, 1) * turned.T - base


def _rotations(blocks: Tensor, limit: float) -> Tensor:
    """Cayley's transforms of the generators X - X^T, together no longer than `limit` where that is above 0."""
    Q = blocks - blocks.mT
    length = torch.linalg.vector_norm(Q) + EPSILON
    return _cayley(Q * (limit / length) if 0 < limit < length else Q)


def _cayley(Q: Tensor) -> Tensor:
    """(I + Q) (I - Q)^-1; the two commute."""
    solved: Tensor = torch.linalg.solve(_identity(Q) - Q, _identity(Q) + Q)
    return solved


def _series(Q: Tensor, terms: int) -> Tensor:
    """PEFT's Cayley-Neumann series of (I + Q) (I - Q)^-1: I + 2 Q + 2 Q^2 + ... + Q^p, of which the last counts once.

    p is terms - 1, and 3 where that is 2. With the series PEFT turns the other way than exactly, (I - Q) (I + Q)^-1.
    """
    if terms < 3:
        return _identity(Q) + 2.0 * (terms - 1) * Q
    total, power = _identity(Q) + 2 * Q, Q
    last = max(terms - 1, 3)
    for exponent in range(2, last + 1):
        power = power @ Q
        total = total + (power if exponent == last else 2 * power)
    return total


def _turned(R: Tensor, base: Tensor) -> Tensor:
    """diag(R)^T W0: (c, b, b) and (c b, N)."""
    rows = base.reshape(R.shape[0], R.shape[1], -1)
    return (R.mT @ rows).reshape(base.shape)


def _butterfly(base: Tensor, blocks: Tensor, rescale: Tensor | None, limit: float, strength: float) -> Tensor:
    R = _rotations(blocks, limit)
    turned, width = base, R.shape[-1]
    for stage, B in enumerate(strength * R + (1 - strength) * _identity(R)):
        apart = 2**stage * (width // 2)
        mixed = turned.reshape(-1, 2, apart, base.shape[1]).transpose(1, 2).reshape(B.shape[0], width, -1)
        turned = (B @ mixed).reshape(-1, apart, 2, base.shape[1]).transpose(1, 2).reshape(base.shape)
    return (turned if rescale is None else rescale.reshape(-1, 1) * turned) - base


def _butterfly_order(size: int, width: int, stage: int) -> Tensor:
    """PEFT's permutation of a stage: of the half blocks in each group of 2^stage blocks the even ones, then the odd."""
    group, half = width * 2**stage, width // 2
    units = torch.arange(group // half)
    inside = torch.cat([units[::2], units[1::2]])[:, None] * half + torch.arange(half)
    return (torch.arange(0, size, group)[:, None] + inside.reshape(1, -1)).reshape(-1)


def _shuffled(R: Tensor, rows: Tensor, order: Tensor | None) -> Tensor:
    """P diag(R) P^T rows, where (P x)[i] = x[order[i]]."""
    order = torch.arange(rows.shape[0]) if order is None else order
    gathered = torch.empty_like(rows)
    gathered[order] = rows
    turned: Tensor = (R @ gathered.reshape(R.shape[0], R.shape[1], -1)).reshape(rows.shape)
    return turned[order]


def _skew(numbers: Tensor) -> Tensor:
    """(c, b (b - 1) / 2) -> (c, b, b), the numbers above the diagonal row by row."""
    size = (1 + int((1 + 8 * numbers.shape[1]) ** 0.5)) // 2
    rows, columns = torch.triu_indices(size, size, 1)
    Q = numbers.new_zeros(numbers.shape[0], size, size)
    Q[:, rows, columns] = numbers
    return Q - Q.mT


def _within(Q: Tensor, limit: float) -> Tensor:
    """Each generator no longer than `limit`."""
    lengths = torch.linalg.vector_norm(Q, dim=(1, 2), keepdim=True)
    return torch.where(lengths <= limit, Q, Q * (limit / torch.where(lengths == 0, 1.0, lengths)))


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype)

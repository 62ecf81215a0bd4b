"""How other tools sum factors: re-implemented from their formulas, mistakes included.

Each scales the factors of every term by coefficients u_i and d_i and then adds them, or lays them side by side:

    added:         up = sum_i u_i B_i,         down = sum_j d_j A_j           dW = sigma sum_ij u_i d_j B_i A_j
    side by side:  up = [u_1 B_1 | ...],       down = [d_1 A_1; ...]          dW = sigma sum_i  u_i d_i B_i A_i

and stores sigma = alpha / rank. So dW = sum_ij K_ij B_i A_j, where the true sum has K = diag(lambda_i s_i).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

from arithmetic.deltas import LowRank
from arithmetic.errors import MethodRefused

MISMATCH = "weights shape mismatch merging v1 and v2, different dims?"
ONE_R = "All adapters must have the same r value when using combination_type linear, ties, dare_ties or dare_linear."


class Part(NamedTuple):
    """One term of one module as a tool sees it: lambda, s = alpha / r, r, and kohya's block weight beside lambda."""

    weight: float
    scale: float
    rank: int
    block: float = 1.0

    @property
    def strength(self) -> float:
        """lambda with the block's weight, as tools that keep no difference between them see it."""
        return self.weight * self.block

    @property
    def alpha(self) -> float:
        """s * r."""
        return self.scale * self.rank


class Arrangement(Enum):
    """How the scaled factors meet."""

    ADDED = "added"
    SIDE_BY_SIDE = "side by side"


class Sides(NamedTuple):
    """u, d and sigma of one module."""

    ups: list[float]
    downs: list[float]
    scale: float


class Refusal(NamedTuple):
    """Why a tool stops: what it does not take, what it found, and its own words."""

    what: str
    found: str
    words: str


@dataclass(frozen=True)
class Dialect:
    """One tool's way to sum; `mismatch` are its words for unequal ranks, empty where it takes them."""

    name: str
    title: str
    arrangement: Arrangement
    sides: Callable[[Sequence[Part]], Sides]
    mismatch: str = ""
    divides_by_first_alpha: bool = False

    @property
    def needs_equal_ranks(self) -> bool:
        """Factors are added, not laid side by side."""
        return self.arrangement is Arrangement.ADDED

    def refusal(self, parts: Sequence[Part]) -> Refusal | None:
        """Why the tool stops at these parts of one module; None where it does not."""
        ranks = [part.rank for part in parts]
        if self.needs_equal_ranks and len(set(ranks)) > 1:
            return Refusal("unequal ranks", " and ".join(map(str, ranks)), self.mismatch)
        if self.divides_by_first_alpha and not all(_has_root(part.alpha, parts[0].alpha) for part in parts):
            alphas = " and ".join(f"{part.alpha:g}" for part in parts)
            words = "math domain error" if parts[0].alpha else "float division by zero"
            return Refusal("alphas without a real sqrt(alpha / alpha_0)", alphas, words)
        return None

    def require(self, parts: Sequence[Part], where: str = "") -> None:
        """Raise MethodRefused where the tool stops at these parts, for its own reason."""
        refusal = self.refusal(parts)
        if refusal is not None:
            place = f" in {where}" if where else ""
            raise MethodRefused(
                f"{self.name}: {self.title} refuses {refusal.what} ({refusal.found}){place}: {refusal.words}"
            )

    def coefficients(self, parts: Sequence[Part]) -> list[list[float]]:
        """K of one module whose parts are not refused."""
        ups, downs, scale = self.sides(parts)
        if self.arrangement is Arrangement.ADDED:
            return [[scale * up * down for down in downs] for up in ups]
        return [[scale * up * downs[i] if i == j else 0.0 for j in range(len(downs))] for i, up in enumerate(ups)]


def tool_sum(
    dialect: Dialect, parts: Sequence[tuple[float, LowRank]], blocks: Sequence[float] | None = None
) -> LowRank:
    """The factors that the tool writes for one module, cross terms and all, in float64 and not rounded further.

    Args:
        dialect: which tool.
        parts: lambda and factors of each file that has the module, in the tool's order.
        blocks: kohya's block weight (lbw) of this module in each file; 1 where left out.

    Returns:
        up (m, r[, 1, 1]), down (r, n[, k, k]) and scale = alpha / r of the file; r is the common rank, or the sum of
        the ranks where the tool lays factors side by side.

    Raises:
        MethodRefused: the tool itself stops at these parts, for its own reason.
    """
    seen = [
        Part(weight, factors.scale, factors.rank, block)
        for (weight, factors), block in zip(parts, repeat(1.0) if blocks is None else blocks, strict=blocks is not None)
    ]
    dialect.require(seen)
    sides = dialect.sides(seen)
    ups = [u * factors.up.to(torch.float64) for u, (_, factors) in zip(sides.ups, parts, strict=True)]
    downs = [d * factors.down.to(torch.float64) for d, (_, factors) in zip(sides.downs, parts, strict=True)]
    if dialect.arrangement is Arrangement.ADDED:
        return LowRank(_added(ups), _added(downs), sides.scale)
    return LowRank(torch.cat(ups, dim=1), torch.cat(downs, dim=0), sides.scale)


def peft_linear(parts: Sequence[Part]) -> Sides:
    """PEFT `add_weighted_adapter(combination_type="linear")`, peft 0.21, tuners/lora/model.py; alpha = r is stored.

    d_j = sgn(w_j s_j) sqrt|w_j s_j|, u_i = sqrt|w_i s_i|: the diagonal of K is right, the rest is not.
    """
    true = [part.strength * part.scale for part in parts]
    return Sides(_roots(true), _signed_roots(true), 1.0)


def kohya_merge(parts: Sequence[Part]) -> Sides:
    """kohya-ss sd-scripts `merge_lora.py` (2026-02) lines 175-193; `sdxl_merge_lora.py` 316-334 with block weights.

    sqrt(alpha / alpha_0) * ratio multiplies down, its absolute value up; a block weight then multiplies both, so that
    it is squared and a negative one becomes positive: K_ij = sqrt(s_i s_j) |w_i| w_j b_i b_j. alpha_0 is stored.
    """
    return _ratio_on_both_sides(parts, parts[0].rank)


def kohya_concat(parts: Sequence[Part]) -> Sides:
    """kohya-ss `merge_lora.py --concat`: the same coefficients, and alpha_0 is divided by the new rank.

    K_ii = |w_i| w_i b_i^2 alpha_i / sum_k r_k.
    """
    return _ratio_on_both_sides(parts, sum(part.rank for part in parts))


def supermerger(parts: Sequence[Part]) -> Sides:
    """supermerger (2025-11) `pluslora.py` merge_lora_models, lines 514-523, without its setting "same to Strength".

    sqrt(alpha / alpha_0) * ratio on both sides, block weights inside the ratio: K_ij = sqrt(s_i s_j) w_i w_j, so that a
    negative ratio becomes positive. (With the setting, K is PEFT's.)
    """
    sides = [math.sqrt(part.alpha / parts[0].alpha) * part.strength for part in parts]
    return Sides(sides, list(sides), parts[0].scale)


def supermerger_svd(parts: Sequence[Part]) -> Sides:
    """supermerger's merge_lora_models_dim, lines 606-614, with "same to Strength": K_ii = sgn(w_i) sqrt|w_i| s_i.

    The sum before its SVD; its truncation to the chosen rank and its clamp of U S and V at the 0.99 quantile are left
    out, and only make it worse. Without the setting, this sum is the true one.
    """
    return Sides(
        [part.scale * root for part, root in zip(parts, _strength_roots(parts), strict=True)], _ones(parts), 1.0
    )


def peft_svd(parts: Sequence[Part]) -> Sides:
    """PEFT `combination_type="svd"` before pull request 3111: s counts twice, K_ii = w_i s_i^2.

    The sum before its SVD, which is the result at full rank; PEFT's default truncates it to the largest rank.
    """
    return Sides([part.strength * part.scale**2 for part in parts], _ones(parts), 1.0)


DIALECTS = (
    Dialect("peft-linear", "PEFT add_weighted_adapter, linear", Arrangement.ADDED, peft_linear, ONE_R),
    Dialect("kohya-merge", "kohya merge_lora.py", Arrangement.ADDED, kohya_merge, MISMATCH, True),
    Dialect(
        "kohya-concat",
        "kohya merge_lora.py --concat",
        Arrangement.SIDE_BY_SIDE,
        kohya_concat,
        divides_by_first_alpha=True,
    ),
    Dialect("supermerger", "supermerger, LoRAs of one rank", Arrangement.ADDED, supermerger, MISMATCH, True),
    Dialect("supermerger-svd", "supermerger, new rank, same to Strength", Arrangement.SIDE_BY_SIDE, supermerger_svd),
    Dialect(
        "peft-svd-pre3111",
        "PEFT add_weighted_adapter, svd, before pull request 3111",
        Arrangement.SIDE_BY_SIDE,
        peft_svd,
    ),
)
SUMS: dict[str, Callable[..., LowRank]] = {dialect.name: partial(tool_sum, dialect) for dialect in DIALECTS}


def _ratio_on_both_sides(parts: Sequence[Part], rank: int) -> Sides:
    roots = [math.sqrt(part.alpha / parts[0].alpha) for part in parts]
    downs = [root * part.weight * part.block for root, part in zip(roots, parts, strict=True)]
    ups = [root * abs(part.weight) * part.block for root, part in zip(roots, parts, strict=True)]
    return Sides(ups, downs, parts[0].alpha / rank)


def _strength_roots(parts: Sequence[Part]) -> list[float]:
    return _signed_roots([part.strength for part in parts])


def _roots(values: Sequence[float]) -> list[float]:
    return [math.sqrt(abs(value)) for value in values]


def _signed_roots(values: Sequence[float]) -> list[float]:
    return [math.copysign(root, value) for root, value in zip(_roots(values), values, strict=True)]


def _ones(parts: Sequence[Part]) -> list[float]:
    return [1.0] * len(parts)


def _has_root(alpha: float, first: float) -> bool:
    """Whether sqrt(alpha / alpha_0) is a real number."""
    return first != 0 and alpha / first >= 0


def _added(factors: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(factors[0])
    for factor in factors:
        total += factor
    return total

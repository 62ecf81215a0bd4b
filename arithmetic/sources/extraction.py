"""A vector out of bases: the low-rank one that is nearest to their difference.

    D = sum_i c_i W_i    (coefficients that add up to 0)        D ~ up @ down of rank k, nearest in the Frobenius norm

Biases and normalisations have no low rank to speak of: their differences are kept whole, or left out by name.
"""

import math
from collections.abc import Callable, Hashable
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from arithmetic.deltas import Delta, LowRank, shaped
from arithmetic.errors import AlgebraError
from arithmetic.progress import Progress, watcher
from arithmetic.reduction.randomised import OVERSAMPLING, POWER_ITERATIONS, Triplets
from arithmetic.reduction.rules import EnergyKept, ErrorAtMost, RankAtMost, Rule
from arithmetic.reduction.sampling import SEED, Sampling, blocks, square_norm
from arithmetic.reduction.spool import Spool
from arithmetic.resources import DEFAULT_RESOURCES, Resources, done_in_order, single_threaded
from arithmetic.sources.difference import Difference, Share
from arithmetic.sources.source import Source

MEASURED_BELOW = 1e-4
"""Share of ||D||^2 left out below which ||D||^2 - ||kept||^2 loses its digits: D - up @ down is taken itself then."""


@dataclass(frozen=True)
class Criterion:
    """How much of a module is kept: one of a rank, a share of ||D||_F^2, a bound of ||D - kept||_F / ||D||_F."""

    rank: int | None = None
    energy: float | None = None
    error: float | None = None

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.rank, self.energy, self.error)) != 1:
            raise AlgebraError("extract: expected exactly one of rank, energy and error. Say how much is to be kept.")
        if self.rank is not None and self.rank < 1:
            raise AlgebraError(f"extract: rank is {self.rank}, expected 1 or more.")
        for name, value in (("energy", self.energy), ("error", self.error)):
            if value is not None and not 0 < value < 1:
                raise AlgebraError(f"extract: {name} is {value}, expected more than 0 and less than 1.")

    @property
    def rule(self) -> Rule:
        """The same, as stages of a recipe have it."""
        if self.rank is not None:
            return RankAtMost(self.rank)
        return ErrorAtMost(self.error) if self.error is not None else EnergyKept(self.energy or 1.0)

    @property
    def left_out(self) -> float:
        """The share of ||D||_F^2 that may be left out, where no rank is given."""
        return 1 - self.energy if self.energy is not None else (self.error or 0.0) ** 2


class Extracted:
    """A source of low-rank deltas near a difference; each is computed when first asked for, and kept on the disk."""

    def __init__(self, difference: Difference, criterion: Criterion, sampling: Sampling, *, channels: bool) -> None:
        self.name = f"extract({difference.name})"
        self.architecture = difference.architecture
        self.modules: dict[str, Share] = {}
        self.left_out: tuple[str, ...] = difference.left_out
        """Components that not all bases have, and biases and normalisations that differ and were not wanted."""
        self.content: Hashable = ("extract", difference.content, criterion, sampling, channels)
        self._difference, self._criterion, self._sampling = difference, criterion, sampling
        self._has_channels = channels
        self._spool = Spool()
        self._errors: dict[str, float] = {}

    @property
    def whole(self) -> Source:
        """The difference, before a rank was lowered."""
        return self._difference

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What the criterion says of a module's result."""
        return (self._criterion.rule,)

    def lowers(self, rank: int | None) -> bool:
        """Always: a difference of bases has full rank."""
        return rank is None

    @property
    def parts(self) -> tuple[tuple[float, Source], ...]:
        """The difference."""
        return ((1.0, self._difference),)

    @property
    def origins(self) -> tuple[()]:
        """Nothing: the difference has them."""
        return ()

    def delta(self, module: str) -> Delta:
        """LowRank(up (m, k[, 1, 1]), down (k, n[, k, k]), 1) of a weight, Dense (m, 1) of a bias or normalisation."""
        rank = self.modules[module].rank
        if rank is None:
            return self._difference.delta(module)
        if module not in self._spool:
            with single_threaded():
                matrix = self._difference.delta(module).matrix
                self._keep(module, matrix, self._sampling.triplets(matrix, rank, module))
        up, down = self._spool.get(module)
        return LowRank(up, down, 1.0)

    def approximation_error(self, module: str) -> float:
        """||D - kept||_F / ||D||_F; known once `delta` was asked for, computed here where it was not."""
        if self.modules[module].rank is None:
            return 0.0
        self.delta(module)
        return self._errors[module]

    def take(self, module: str, share: Share) -> None:
        """Make `module` a part of this vector, or name it among what is left out."""
        if share.rank is None and not self._has_channels:
            self.left_out = (*self.left_out, module)
        else:
            self.modules[module] = share

    def share(self, module: str) -> Share | None:
        """The rank that the criterion asks for, None for a module that does not differ; what was computed is kept."""
        matrix = self._difference.delta(module).matrix
        if not bool(matrix.any()):
            return None
        if module not in self.architecture.modules:
            return Share(None)
        if self._criterion.rank is not None:
            return Share(min(self._criterion.rank, *matrix.shape))
        found = self._sampling.triplets_within(matrix, self._criterion.left_out, module)
        self._keep(module, matrix, found)
        return Share(len(found.s))

    def _keep(self, module: str, matrix: Tensor, triplets: Triplets) -> None:
        up, down = (factor.to(matrix.dtype) for factor in projected(matrix, triplets).balanced())
        self._errors[module] = relative_error(matrix, triplets, up, down)
        kept = shaped(up, down, 1.0, self.architecture.modules[module].shape)
        self._spool.put(module, (kept.up, kept.down))


def extract(
    difference: Difference,
    *,
    rank: int | None = None,
    energy: float | None = None,
    error: float | None = None,
    oversampling: int = OVERSAMPLING,
    power_iterations: int = POWER_ITERATIONS,
    seed: int = SEED,
    channels: bool = True,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Progress | None = None,
    cancelled: Callable[[], object] | None = None,
) -> Extracted:
    """The low-rank vector nearest to a difference of bases; modules that do not differ are no part of it.

    Args:
        difference: of bases.
        rank: of every module, or its shorter side where that is less.
        energy: the share of ||D||_F^2 to keep in each module, at the least rank that does.
        error: ||D - kept||_F / ||D||_F of each module at most, at the least rank that does.
        oversampling: columns sampled beyond the rank.
        power_iterations: of the range finder.
        seed: with a module's name it decides what is sampled.
        channels: whether differences of biases and normalisations are kept, whole; else they are `left_out`.
        resources: threads.
        progress: called with the phase (extracting), modules done, modules.
        cancelled: asked between modules; a true answer stops the work.

    Raises:
        AlgebraError: not exactly one of rank, energy and error, or one out of its range; bases that do not differ.
        Cancelled: `cancelled` said so.
    """
    sampling = Sampling(oversampling, power_iterations, seed)
    found = Extracted(difference, Criterion(rank, energy, error), sampling, channels=channels)
    notify, modules = watcher(progress, cancelled)("extracting"), tuple(difference.modules)
    tasks = [partial(found.share, module) for module in modules]
    with closing(done_in_order(tasks, resources)) as shares:
        for done, (module, share) in enumerate(zip(modules, shares, strict=True), start=1):
            if share is not None:
                found.take(module, share)
            notify(done, len(modules))
    if not found.modules:
        raise AlgebraError(f"{difference.name}: the bases do not differ in any module. Name another base.")
    return found


def projected(matrix: Tensor, triplets: Triplets) -> Triplets:
    """The triplets with u (m, k) orthonormal and vt (k, n) = diag(1 / s) u^T D, in float64.

    The decomposition is in the matrix's dtype: in float32 its product is D projected on u to a few 1e-6 alone, and the
    certificate asks for 1e-6. Directions without a singular value stay as they are.
    """
    u, r = torch.linalg.qr(triplets.u.to(torch.float64))
    u = u * torch.where(r.diagonal() < 0, -1.0, 1.0).to(torch.float64)
    down = torch.zeros(u.shape[1], matrix.shape[1], dtype=torch.float64)
    for rows in blocks(matrix):
        down += u[rows].T @ matrix[rows].to(torch.float64)
    s = triplets.s.unsqueeze(1)
    return Triplets(u, triplets.s, torch.where(s > 0, down / s, triplets.vt.to(torch.float64)))


def relative_error(matrix: Tensor, triplets: Triplets, up: Tensor, down: Tensor) -> float:
    """||D - up @ down||_F / ||D||_F, where up @ down is the projection of D that the triplets make."""
    total = square_norm(matrix)
    left: float = total - float((triplets.s**2).sum())
    if left < MEASURED_BELOW * total:
        right = down.to(torch.float64)
        left = math.fsum(
            float((matrix[rows].to(torch.float64) - up[rows].to(torch.float64) @ right).norm() ** 2)
            for rows in blocks(matrix)
        )
    return float((left / total) ** 0.5)

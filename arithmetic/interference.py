"""How two vectors meet: where they act, whether they help or oppose each other, and how much of one lies in the other.

Everything follows from the Gram matrices of the factors, in float64: no dense matrix is formed of a low-rank delta.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from torch import Tensor

from arithmetic.deltas import Delta
from arithmetic.errors import AlgebraError, NeedsBase
from arithmetic.grams import Grams, Matrices, grams, matrices_of, own_grams
from arithmetic.recipe.selectors import block_name
from arithmetic.resources import DEFAULT_RESOURCES, Resources, in_order
from arithmetic.sources.source import Source
from arithmetic.subspaces import Spaces, cosines, energy_inside, spaces_of

LEADING = 0.9
"""The share of a vector's energy that its leading directions hold."""


@dataclass(frozen=True)
class Overlap:
    """Two deltas as one number each and one between them: of a module, a block or a whole vector."""

    squared_a: float
    """||dW_a||_F^2; 0 where `a` does nothing."""
    squared_b: float
    inner: float
    """<dW_a, dW_b>_F."""

    @property
    def norm_a(self) -> float:
        """||dW_a||_F."""
        return math.sqrt(self.squared_a)

    @property
    def norm_b(self) -> float:
        """||dW_b||_F."""
        return math.sqrt(self.squared_b)

    @property
    def cosine(self) -> float | None:
        """1: the same direction, 0: nothing in common, -1: they cancel; None where either does nothing."""
        scale = self.norm_a * self.norm_b
        return max(-1.0, min(1.0, self.inner / scale)) if scale else None

    def norm_of_sum(self, weight_a: float, weight_b: float) -> float:
        """||weight_a dW_a + weight_b dW_b||_F."""
        square = weight_a**2 * self.squared_a + weight_b**2 * self.squared_b + 2 * weight_a * weight_b * self.inner
        return math.sqrt(max(square, 0.0))


@dataclass(frozen=True)
class Angles:
    """Principal angles between two spaces, in degrees: 0 where they share a direction, 90 where they share none."""

    smallest: float
    mean: float


@dataclass(frozen=True)
class Inside:
    """The part of a delta within the leading directions of the other one."""

    energy: float
    """||U U^T dW V V^T||_F^2."""
    expected: float
    """The same of a delta whose spaces were drawn at random: ||dW||_F^2 k^2 / (m n)."""
    directions: int
    """k."""


@dataclass(frozen=True)
class ModuleInterference:
    """One module. Angles and insides are None where only one vector acts, or one of them is kept as a matrix."""

    module: str
    block: str
    overlap: Overlap
    columns: Angles | None = None
    """Between what the two write to: the spans of up."""
    rows: Angles | None = None
    """Between what the two read from: the spans of down."""
    a_in_b: Inside | None = None
    b_in_a: Inside | None = None

    @property
    def is_shared(self) -> bool:
        """Whether both vectors act here."""
        return self.overlap.squared_a > 0 and self.overlap.squared_b > 0


@dataclass(frozen=True)
class BlockInterference:
    """One row of the heat map: a block of the network."""

    block: str
    modules: int
    shared: int
    overlap: Overlap


@dataclass(frozen=True)
class Containment:
    """How much of one vector's energy lies in the leading directions of the other, over all modules."""

    share: float
    """||U U^T dW V V^T||^2 / ||dW||^2."""
    expected: float
    """The same share for random spaces of that many directions."""
    directions: int
    """Leading directions in all modules together."""


@dataclass(frozen=True)
class AngleSummary:
    """Over the modules in which both vectors act."""

    smallest: float
    """The smallest angle of any module."""
    median_smallest: float
    mean: float


@dataclass(frozen=True)
class LeftOut:
    """A module that no number includes, and why."""

    module: str
    reason: str


@dataclass(frozen=True)
class Interference:
    """The report on two vectors `a` and `b` at the strengths `weights`."""

    a: str
    b: str
    weights: tuple[float, float]
    modules: tuple[ModuleInterference, ...]
    left_out: tuple[LeftOut, ...] = ()
    leading: float = LEADING
    """The share of energy that a vector's leading directions hold."""

    @cached_property
    def overlap(self) -> Overlap:
        """Over all modules."""
        return _summed(self.modules)

    @property
    def norm_of_sum(self) -> float:
        """||weight_a dW_a + weight_b dW_b||_F at the report's strengths."""
        return self.overlap.norm_of_sum(*self.weights)

    @cached_property
    def shared(self) -> tuple[ModuleInterference, ...]:
        """The modules in which both act."""
        return tuple(one for one in self.modules if one.is_shared)

    @cached_property
    def blocks(self) -> tuple[BlockInterference, ...]:
        """The heat map, in the order of the network."""
        found: dict[str, list[ModuleInterference]] = {}
        for one in self.modules:
            found.setdefault(one.block, []).append(one)
        return tuple(
            BlockInterference(block, len(ones), sum(one.is_shared for one in ones), _summed(ones))
            for block, ones in found.items()
        )

    @property
    def columns(self) -> AngleSummary | None:
        """Angles between what the two write to; None where no module has any."""
        return _summary(one.columns for one in self.modules)

    @property
    def rows(self) -> AngleSummary | None:
        """Angles between what the two read from."""
        return _summary(one.rows for one in self.modules)

    @property
    def a_in_b(self) -> Containment | None:
        """The part of `a` within the leading directions of `b`; None where `a` is zero or no module was compared."""
        return _contained([one.a_in_b for one in self.modules], self.overlap.squared_a)

    @property
    def b_in_a(self) -> Containment | None:
        """The part of `b` within the leading directions of `a`."""
        return _contained([one.b_in_a for one in self.modules], self.overlap.squared_b)


def interference(
    a: Source,
    b: Source,
    weights: tuple[float, float] = (1.0, 1.0),
    *,
    leading: float = LEADING,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Callable[[int, int], None] | None = None,
) -> Interference:
    """Compare two vectors module by module; what cannot be compared is named in `left_out`.

    Norms and inner products are exact (relative error 1e-6 for float16 factors, 1e-12 otherwise). Subspaces leave out
    directions below 1e-5 of the strongest one's energy.

    Args:
        a, b: vectors of one architecture. What needs a base to be a difference takes one first: on_base(...).
        weights: the strengths that the sum is reported at.
        leading: the share of energy that a vector's leading directions hold, in (0, 1].
        resources: threads and memory.
        progress: called with (modules done, modules).

    Raises:
        AlgebraError: two architectures, no module that can be compared, or a share outside (0, 1].
    """
    _require_comparable(a, b, leading)
    modules = tuple(_ordered(a, b))
    compared: list[ModuleInterference | LeftOut] = []
    for one in in_order(lambda module: _compared(a, b, module, leading), modules, resources):
        compared.append(one)
        if progress is not None:
            progress(len(compared), len(modules))
    found = tuple(one for one in compared if isinstance(one, ModuleInterference))
    left_out = tuple(one for one in compared if isinstance(one, LeftOut))
    if left_out and not found:
        raise AlgebraError(f"{a.name} and {b.name}: no module can be compared: {left_out[0].reason}")
    return Interference(a.name, b.name, weights, found, left_out, leading)


def _compared(a: Source, b: Source, module: str, leading: float) -> ModuleInterference | LeftOut:
    """One module; Gram matrices where both deltas have factors, the matrices themselves where not."""
    block = block_name(module)
    try:
        deltas = [source.delta(module) if module in source.modules else None for source in (a, b)]
    except NeedsBase as error:
        return LeftOut(module, str(error))
    factors = [None if delta is None else matrices_of(delta) for delta in deltas]
    left, right = factors
    if left is not None and right is not None:
        return _by_factors(module, block, left, right, leading)
    squares = [0.0 if delta is None else _squared(delta, known) for delta, known in zip(deltas, factors, strict=True)]
    first, second = deltas
    inner = 0.0 if first is None or second is None else (first.dense() * second.dense()).sum().item()
    if not all(map(math.isfinite, (*squares, inner))):
        return LeftOut(module, "holds NaN or infinity")
    return ModuleInterference(module, block, Overlap(squares[0], squares[1], inner))


def _squared(delta: Delta, factors: Matrices | None) -> float:
    """||dW||_F^2."""
    if factors is not None:
        return max(own_grams(factors)[1].inner, 0.0)
    return delta.dense().square().sum().item()


def _by_factors(module: str, block: str, a: Matrices, b: Matrices, leading: float) -> ModuleInterference | LeftOut:
    (a, own_a), (b, own_b) = own_grams(a), own_grams(b)
    cross = grams(a, b)
    overlap = Overlap(max(own_a.inner, 0.0), max(own_b.inner, 0.0), cross.inner)
    if not all(map(math.isfinite, (overlap.squared_a, overlap.squared_b, overlap.inner))):
        return LeftOut(module, "holds NaN or infinity")
    if overlap.squared_a == 0 or overlap.squared_b == 0:
        return ModuleInterference(module, block, overlap)
    spaces_a, spaces_b = spaces_of(own_a), spaces_of(own_b)
    size = a.up.shape[0] * a.down.shape[1]
    return ModuleInterference(
        module,
        block,
        overlap,
        columns=_angles(cosines(spaces_a.columns, spaces_b.columns, cross.up)),
        rows=_angles(cosines(spaces_a.rows, spaces_b.rows, cross.down)),
        a_in_b=_inside(spaces_b, cross.mirrored, a.scale, overlap.squared_a, size, leading),
        b_in_a=_inside(spaces_a, cross, b.scale, overlap.squared_b, size, leading),
    )


def _inside(spaces: Spaces, cross: Grams, scale: float, squared: float, size: int, leading: float) -> Inside:
    """Of the delta that `scale` and `squared` belong to, within the leading directions of the one in `spaces`."""
    directions = spaces.leading(leading)
    energy = min(energy_inside(directions, spaces, cross, scale), squared)
    return Inside(energy, min(squared * directions.count**2 / size, squared), directions.count)


def _angles(found: Tensor) -> Angles | None:
    if not len(found):
        return None
    degrees = found.acos().rad2deg()
    return Angles(degrees.min().item(), degrees.mean().item())


def _summed(modules: Iterable[ModuleInterference]) -> Overlap:
    overlaps = [one.overlap for one in modules]
    return Overlap(
        math.fsum(one.squared_a for one in overlaps),
        math.fsum(one.squared_b for one in overlaps),
        math.fsum(one.inner for one in overlaps),
    )


def _summary(found: Iterable[Angles | None]) -> AngleSummary | None:
    angles = [one for one in found if one is not None]
    if not angles:
        return None
    smallest = [one.smallest for one in angles]
    return AngleSummary(min(smallest), median(smallest), fmean(one.mean for one in angles))


def _contained(found: Iterable[Inside | None], squared: float) -> Containment | None:
    insides = [one for one in found if one is not None]
    if not insides or squared == 0:
        return None
    return Containment(
        share=math.fsum(one.energy for one in insides) / squared,
        expected=math.fsum(one.expected for one in insides) / squared,
        directions=sum(one.directions for one in insides),
    )


def _require_comparable(a: Source, b: Source, leading: float) -> None:
    if a.architecture.modules != b.architecture.modules:
        raise AlgebraError(
            f"{a.name} is {a.architecture.name}, {b.name} is {b.architecture.name}. "
            "Compare vectors of one architecture."
        )
    if not 0 < leading <= 1:
        raise AlgebraError(f"leading: got {leading}, expected a share of the energy in (0, 1].")


def _ordered(a: Source, b: Source) -> Iterator[str]:
    """The modules that either has: the table's first, then biases and normalisations by name."""
    reached = {*a.modules, *b.modules}
    yield from (module for module in a.architecture.modules if module in reached)
    yield from sorted(reached.difference(a.architecture.modules))

"""What is known of a vector once every tensor of it was read: enough to judge a sum of vectors without reading again.

Of each module: the Frobenius norm of its delta, the largest entries that a file has to hold, and two numbers that are
linear in the delta, u^T dW x with fixed u and x. Those of a sum are the weighted sums of its terms', whatever the
weights, so that a sum which cancels is found without its tensors: E (u^T dW x)^2 = ||dW||_F^2 for independent entries
of unit variance.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from arithmetic.deltas import Delta
from arithmetic.errors import UnknownMeasures
from arithmetic.files.concatenation import column_peaks, row_peaks
from arithmetic.grams import Matrices, matrices_of, own_grams
from arithmetic.resources import DEFAULT_RESOURCES, Resources, in_order
from arithmetic.sources.source import Source
from arithmetic.sources.vector import Vector

VERSION = 1
MARK = b"TAUM"
HEAD = struct.Struct("<4sBdI")
"""Mark, version, the unit of norms and sketches, bytes of the compressed names."""

SKETCHES = 2
WIDTH = 4 + SKETCHES
"""Numbers a module."""

Columns = npt.NDArray[np.float64]


class Measure(NamedTuple):
    """Of one module's delta; where it holds NaN or infinity, `norm` is infinite and the rest is 0."""

    norm: float
    """||dW||_F."""
    up: float
    """The largest magnitude in scale * up; of a delta without factors, in its matrix."""
    down: float
    """The largest magnitude in down; 0 for a delta without factors."""
    balanced: float
    """The largest magnitude in either factor once each rank's column and row are of about equal size, as in fp16."""
    sketch: tuple[float, float]
    """u^T dW x for two fixed pairs of vectors."""

    @property
    def is_finite(self) -> bool:
        """Whether the delta holds neither NaN nor infinity."""
        return math.isfinite(self.norm)


BROKEN = Measure(math.inf, 0.0, 0.0, 0.0, (0.0, 0.0))


@dataclass(frozen=True)
class Measures:
    """Module -> what was measured, in the vector's order."""

    modules: Mapping[str, Measure]

    @property
    def norm(self) -> float:
        """||dW||_F over all modules; infinite where one is not finite."""
        return math.hypot(*(measure.norm for measure in self.modules.values()))

    @property
    def largest_norm(self) -> float:
        """That of the module with the largest one; 0 without modules."""
        return max((measure.norm for measure in self.modules.values()), default=0.0)

    @property
    def non_finite(self) -> tuple[str, ...]:
        """The modules that hold NaN or infinity."""
        return tuple(module for module, measure in self.modules.items() if not measure.is_finite)

    def covers(self, source: Source) -> bool:
        """Whether these are of the modules of `source` that can be measured."""
        return self.modules.keys() == set(measurable(source))

    def to_bytes(self) -> bytes:
        """For a database: about 25 bytes a module, in single precision."""
        rows = [[*measure[:4], *measure.sketch] for measure in self.modules.values()]
        columns = np.array(rows, dtype=np.float64).reshape(len(rows), WIDTH)
        unit = _unit(columns[:, 0])
        with np.errstate(over="ignore"):  # a peak beyond single precision is infinite, which no file holds either
            planes = (columns / _units(unit)).T.astype("<f4")
        names = zlib.compress(json.dumps(list(self.modules)).encode(), 9)
        shuffled = planes.reshape(-1).view(np.uint8).reshape(-1, 4).T.tobytes()
        return HEAD.pack(MARK, VERSION, unit, len(names)) + names + zlib.compress(shuffled, 6)

    @classmethod
    def from_bytes(cls, content: bytes) -> "Measures":
        """Raises UnknownMeasures for bytes that this version did not write."""
        remedy = "Measure the vector again."
        if len(content) < HEAD.size:
            raise UnknownMeasures(f"{len(content)} bytes are no measures. {remedy}")
        mark, version, unit, length = HEAD.unpack_from(content)
        if (mark, version) != (MARK, VERSION):
            raise UnknownMeasures(f"measures {mark!r} of version {version}, expected {MARK!r} {VERSION}. {remedy}")
        try:
            names = json.loads(zlib.decompress(content[HEAD.size : HEAD.size + length]))
            flat = np.frombuffer(zlib.decompress(content[HEAD.size + length :]), np.uint8)
            planes = flat.reshape(4, -1).T.copy().view("<f4").reshape(WIDTH, len(names))
        except (zlib.error, ValueError) as error:
            raise UnknownMeasures(f"measures that cannot be read: {error}. {remedy}") from error
        rows = (planes.T.astype(np.float64) * _units(unit)).tolist()
        return cls({name: _measure(*row) for name, row in zip(names, rows, strict=True)})


def measure(
    source: Source,
    *,
    resources: Resources = DEFAULT_RESOURCES,
    progress: Callable[[int, int], None] | None = None,
) -> Measures:
    """Read every module of `source` once, but for those whose change depends on a base.

    Returns:
        Norms by Gram traces, relative error below 1e-6; all numbers in single precision, as a registry keeps them.
    """
    modules = measurable(source)
    found: dict[str, Measure] = {}
    measured = in_order(lambda module: measure_delta(source.delta(module)), modules, resources)
    for done, (module, one) in enumerate(zip(modules, measured, strict=True), start=1):
        found[module] = one
        if progress is not None:
            progress(done, len(modules))
    return Measures.from_bytes(Measures(found).to_bytes())


def measurable(source: Source) -> tuple[str, ...]:
    """The modules whose delta the source itself tells: of a file, not those that depend on the base's weights."""
    anchored = source.anchored if isinstance(source, Vector) else {}
    return tuple(module for module in source.modules if module not in anchored)


def measure_delta(delta: Delta) -> Measure:
    """What is recorded of one delta; tr((B^T B)(A A^T)) is its squared norm."""
    factors = matrices_of(delta)
    return _of_matrix(delta.dense()) if factors is None else _of_factors(factors)


def _measure(norm: float, up: float, down: float, balanced: float, first: float, second: float) -> Measure:
    return Measure(norm, up, down, balanced, (first, second))


def _of_factors(factors: Matrices) -> Measure:
    scale = abs(factors.scale)
    ups, downs = column_peaks(factors.up).double() * scale, row_peaks(factors.down).double()
    up, down = ups.max().item(), downs.max().item()
    if not (math.isfinite(up) and math.isfinite(down)):
        return BROKEN
    _, own = own_grams(factors)
    return Measure(
        norm=math.sqrt(max(own.inner, 0.0)),
        up=up,
        down=down,
        balanced=(2 * ups * downs).sqrt().max().item(),
        sketch=_sketch(factors.up, factors.down, factors.scale),
    )


def _of_matrix(matrix: Tensor) -> Measure:
    """Of (m, n) float64."""
    peak = matrix.abs().max().item() if matrix.numel() else 0.0
    if not math.isfinite(peak):
        return BROKEN
    u, x = _probes(matrix.shape[0], "u"), _probes(matrix.shape[1], "x")
    first, second = (u * (matrix @ x.T).T).sum(dim=1).tolist()
    return Measure(matrix.norm().item(), peak, 0.0, 0.0, (first, second))


def _sketch(up: Tensor, down: Tensor, scale: float) -> tuple[float, float]:
    """u^T (scale * up @ down) x for each pair of probes, in float64."""
    left = _probes(up.shape[0], "u") @ up.double()
    right = down.double() @ _probes(down.shape[1], "x").T
    first, second = ((left * right.T).sum(dim=1) * scale).tolist()
    return first, second


@lru_cache(maxsize=256)
def _probes(length: int, side: str) -> Tensor:
    """(SKETCHES, length) float64: independent uniform entries of mean square 1, and the same for ever.

    They are made of the bytes of SHAKE-256 of their length and side: what was recorded once must mean the same under
    every version of every library.
    """
    content = hashlib.shake_256(f"tauworks/{side}/{length}".encode()).digest(4 * SKETCHES * length)
    numbers = np.frombuffer(content, "<u4").astype(np.float64).reshape(SKETCHES, length)
    found: Tensor = torch.from_numpy((numbers + 0.5) / 2.0**31 - 1)
    norms: Tensor = torch.linalg.vector_norm(found, dim=1, keepdim=True)
    return found * (math.sqrt(length) / norms)


def _unit(norms: Columns) -> float:
    """A power of two near the largest finite norm, so that single precision holds norms of any size."""
    largest = float(max(norms[np.isfinite(norms)], default=0.0))
    return 2.0 ** math.frexp(largest)[1] if largest > 0 else 1.0


def _units(unit: float) -> Columns:
    """What each number of a module is counted in: peaks in 1, norms and sketches in `unit`."""
    return np.array([unit, 1.0, 1.0, 1.0, *[unit] * SKETCHES])

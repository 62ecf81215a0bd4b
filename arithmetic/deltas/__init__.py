"""Symbolic deltas: what an adapter changes in one module, as factors for as long as that is possible."""

from arithmetic.deltas.delta import Delta
from arithmetic.deltas.dense import Dense
from arithmetic.deltas.factored import Factored
from arithmetic.deltas.hadamard import Hadamard
from arithmetic.deltas.kronecker import Kronecker
from arithmetic.deltas.low_rank import LowRank, fitted, shaped, width
from arithmetic.deltas.products import product, widened
from arithmetic.deltas.tucker import Tucker

__all__ = [
    "Delta",
    "Dense",
    "Factored",
    "Hadamard",
    "Kronecker",
    "LowRank",
    "Tucker",
    "fitted",
    "product",
    "shaped",
    "widened",
    "width",
]

"""Symbolic deltas: what an adapter changes in one module, as factors for as long as that is possible."""

from arithmetic.deltas.delta import Delta
from arithmetic.deltas.dense import Dense
from arithmetic.deltas.low_rank import LowRank, fitted, width
from arithmetic.deltas.products import product, widened

__all__ = ["Delta", "Dense", "LowRank", "fitted", "product", "widened", "width"]

"""Lower ranks: the optimal one of a sum of factors by a QR core, of a matrix by a randomised SVD."""

from arithmetic.reduction.core import Spectrum, reduce
from arithmetic.reduction.rules import EnergyKept, ErrorAtMost, RankAtMost, Rule

__all__ = ["EnergyKept", "ErrorAtMost", "RankAtMost", "Rule", "Spectrum", "reduce"]

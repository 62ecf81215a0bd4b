"""Lower ranks: the optimal one of a sum of factors by a QR core, of a matrix by a randomised SVD."""

from arithmetic.reduction.core import Basis, Spectrum, reduce
from arithmetic.reduction.rules import EnergyKept, ErrorAtMost, RankAtMost, Rule

__all__ = ["Basis", "EnergyKept", "ErrorAtMost", "RankAtMost", "Rule", "Spectrum", "reduce"]

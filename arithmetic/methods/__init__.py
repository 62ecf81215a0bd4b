"""Merge methods as plain functions on one module's tensors, and the table that names them."""

from arithmetic.methods.core import core
from arithmetic.methods.core_space import CoreSpace, core_space
from arithmetic.methods.dare import dare
from arithmetic.methods.della import della
from arithmetic.methods.iso import iso
from arithmetic.methods.knots import knots
from arithmetic.methods.magnitude import magnitude
from arithmetic.methods.projection import project
from arithmetic.methods.table import METHODS, Method, Option, OptionSpec, Space, merged, method_of
from arithmetic.methods.ties import ties
from arithmetic.methods.tool_sums import DIALECTS, Dialect, Part, tool_sum
from arithmetic.methods.tsv import tsv

__all__ = [
    "DIALECTS",
    "METHODS",
    "CoreSpace",
    "Dialect",
    "Method",
    "Option",
    "OptionSpec",
    "Part",
    "Space",
    "core",
    "core_space",
    "dare",
    "della",
    "iso",
    "knots",
    "magnitude",
    "merged",
    "method_of",
    "project",
    "ties",
    "tool_sum",
    "tsv",
]

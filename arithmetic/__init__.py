"""The algebra of adapters: recipes, exact sums, verdicts, certificates, and what other tools would have made."""

from arithmetic.anchored import BaseWeights, OnBase, anchored_delta
from arithmetic.certificate import Certificate, certificate_path, certify, verify
from arithmetic.combination import Combination, ModulePlan, Plan, combine_module, distinct_terms, plan
from arithmetic.composition import compose
from arithmetic.conversion import convert, require_convertible
from arithmetic.dialects import DIALECTS, Dialect, DialectOutcome, dialect_errors, dialect_outcomes
from arithmetic.errors import (
    AlgebraError,
    BoundExceeded,
    Cancelled,
    CertificateMismatch,
    DialectRefused,
    NeedsBase,
    NotConvertible,
    OutputConflict,
    RecipeSyntaxError,
    ShapeMismatch,
    ValidationRefused,
)
from arithmetic.deltas import LowRank
from arithmetic.entries import ModuleEntry
from arithmetic.precision import Precision
from arithmetic.recipe import Recipe, Stage, Term, parse
from arithmetic.vector import Vector, diffusers_state_dict, open_vector
from arithmetic.verdict import Finding, Verdict, check

__all__ = [
    "DIALECTS",
    "AlgebraError",
    "BaseWeights",
    "BoundExceeded",
    "Cancelled",
    "Certificate",
    "CertificateMismatch",
    "Combination",
    "Dialect",
    "DialectOutcome",
    "DialectRefused",
    "Finding",
    "LowRank",
    "ModuleEntry",
    "ModulePlan",
    "NeedsBase",
    "NotConvertible",
    "OnBase",
    "OutputConflict",
    "Plan",
    "Precision",
    "Recipe",
    "RecipeSyntaxError",
    "ShapeMismatch",
    "Stage",
    "Term",
    "ValidationRefused",
    "Vector",
    "Verdict",
    "anchored_delta",
    "certificate_path",
    "certify",
    "check",
    "combine_module",
    "compose",
    "convert",
    "dialect_errors",
    "dialect_outcomes",
    "diffusers_state_dict",
    "distinct_terms",
    "open_vector",
    "parse",
    "plan",
    "require_convertible",
    "verify",
]

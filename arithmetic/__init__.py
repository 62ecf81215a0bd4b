"""The algebra of adapters: recipes, exact sums, verdicts, certificates, and what other tools would have made."""

from arithmetic.certificate import Certificate, certificate_path, certify, verify
from arithmetic.combination import Combination, ModulePlan, Plan, combine_module, distinct_terms, plan
from arithmetic.composition import compose
from arithmetic.conversion import convert, require_convertible
from arithmetic.dialects import DIALECTS, Dialect, DialectOutcome, Migration, dialect_errors, dialect_outcomes, migrated
from arithmetic.errors import (
    AlgebraError,
    BoundExceeded,
    Cancelled,
    CertificateMismatch,
    MethodRefused,
    NotConvertible,
    OutputConflict,
    RecipeSyntaxError,
    ShapeMismatch,
    ValidationRefused,
)
from arithmetic.deltas import LowRank
from arithmetic.precision import Precision
from arithmetic.recipe import Recipe, Stage, Term, parse
from arithmetic.vector import LowRankSpec, Vector, diffusers_state_dict, open_vector
from arithmetic.verdict import Finding, Verdict, check

__all__ = [
    "DIALECTS",
    "AlgebraError",
    "BoundExceeded",
    "Cancelled",
    "Certificate",
    "CertificateMismatch",
    "Combination",
    "Dialect",
    "DialectOutcome",
    "Finding",
    "LowRank",
    "LowRankSpec",
    "MethodRefused",
    "Migration",
    "ModulePlan",
    "NotConvertible",
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
    "migrated",
    "open_vector",
    "parse",
    "plan",
    "require_convertible",
    "verify",
]

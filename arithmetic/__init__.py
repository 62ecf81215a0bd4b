"""The algebra of adapters: recipes, exact sums, verdicts, certificates, and what other tools would have made."""

from arithmetic.baking import BakeCertificate, bake, unbake, verify_bake
from arithmetic.binding import Bound, Opened, bind
from arithmetic.certificate import Certificate, certificate_path, certify, verify
from arithmetic.deltas import LowRank
from arithmetic.dialects import (
    DIALECTS,
    Dialect,
    DialectOutcome,
    Migration,
    dialect_errors,
    dialect_outcomes,
    migrated,
    why_not_comparable,
)
from arithmetic.errors import (
    AlgebraError,
    BindingRefused,
    BoundExceeded,
    Cancelled,
    CertificateMismatch,
    DialectRefused,
    MethodRefused,
    NeedsBase,
    NotAttachable,
    NotConvertible,
    OutputConflict,
    RecipeError,
    RecipeSyntaxError,
    ScopeMismatch,
    ShapeMismatch,
    UnknownMeasures,
    ValidationRefused,
)
from arithmetic.files.attachment import Attachment, attachments, diffusers_state_dict
from arithmetic.files.composition import compose
from arithmetic.files.concatenation import combine_module
from arithmetic.files.conversion import convert, require_convertible
from arithmetic.interference import AngleSummary, Containment, Interference, Overlap, interference
from arithmetic.measures import Measures, measure
from arithmetic.precision import Precision
from arithmetic.recipe import (
    Block,
    BlockList,
    Call,
    Group,
    OptionSignature,
    Pattern,
    Recipe,
    Reference,
    Rule,
    Scope,
    Signature,
    Stage,
    Sum,
    Term,
    parse,
    with_stage,
)
from arithmetic.resources import DEFAULT_RESOURCES, Resources
from arithmetic.sources.anchored import BaseWeights, OnBase, anchored_delta
from arithmetic.sources.combination import Combination, ModulePlan, Plan, distinct_terms, inputs, plan
from arithmetic.sources.difference import Difference
from arithmetic.sources.entries import ModuleEntry
from arithmetic.sources.extraction import Extracted, extract
from arithmetic.sources.merged import Merged
from arithmetic.sources.reduced import Reduced
from arithmetic.sources.vector import Vector, open_vector
from arithmetic.strengths import StrengthRange, suggested_strengths
from arithmetic.verdict import Dossier, Finding, Known, SamplingProfile, SamplingSettings, Verdict, check, check_headers
from arithmetic.weights import Weights, open_weights

__all__ = [
    "DEFAULT_RESOURCES",
    "DIALECTS",
    "AlgebraError",
    "AngleSummary",
    "Attachment",
    "BakeCertificate",
    "BaseWeights",
    "BindingRefused",
    "Block",
    "BlockList",
    "Bound",
    "BoundExceeded",
    "Call",
    "Cancelled",
    "Certificate",
    "CertificateMismatch",
    "Combination",
    "Containment",
    "Dialect",
    "DialectOutcome",
    "DialectRefused",
    "Difference",
    "Dossier",
    "Extracted",
    "Finding",
    "Group",
    "Interference",
    "Known",
    "LowRank",
    "Measures",
    "Merged",
    "MethodRefused",
    "Migration",
    "ModuleEntry",
    "ModulePlan",
    "NeedsBase",
    "NotAttachable",
    "NotConvertible",
    "OnBase",
    "Opened",
    "OptionSignature",
    "OutputConflict",
    "Overlap",
    "Pattern",
    "Plan",
    "Precision",
    "Recipe",
    "RecipeError",
    "RecipeSyntaxError",
    "Reduced",
    "Reference",
    "Resources",
    "Rule",
    "SamplingProfile",
    "SamplingSettings",
    "Scope",
    "ScopeMismatch",
    "ShapeMismatch",
    "Signature",
    "Stage",
    "StrengthRange",
    "Sum",
    "Term",
    "UnknownMeasures",
    "ValidationRefused",
    "Vector",
    "Verdict",
    "Weights",
    "anchored_delta",
    "attachments",
    "bake",
    "bind",
    "certificate_path",
    "certify",
    "check",
    "check_headers",
    "combine_module",
    "compose",
    "convert",
    "dialect_errors",
    "dialect_outcomes",
    "diffusers_state_dict",
    "distinct_terms",
    "extract",
    "inputs",
    "interference",
    "measure",
    "migrated",
    "open_vector",
    "open_weights",
    "parse",
    "plan",
    "require_convertible",
    "suggested_strengths",
    "unbake",
    "verify",
    "verify_bake",
    "why_not_comparable",
    "with_stage",
]

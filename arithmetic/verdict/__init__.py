"""The verdict: what is known to be wrong with a combination before it is computed."""

from arithmetic.verdict.finding import Finding, Severity, Verdict
from arithmetic.verdict.judging import check, check_headers
from arithmetic.verdict.known import Dossier, Known, SamplingProfile, SamplingSettings

__all__ = [
    "Dossier",
    "Finding",
    "Known",
    "SamplingProfile",
    "SamplingSettings",
    "Severity",
    "Verdict",
    "check",
    "check_headers",
]

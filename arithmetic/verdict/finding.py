"""One thing to know about a sum, and all of them together."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from arithmetic.errors import ValidationRefused

Severity = Literal["error", "warning", "note"]
ORDER: tuple[Severity, ...] = ("error", "warning", "note")
NAMED_AT_MOST = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know: a stable code, how bad, one sentence, and what to do."""

    code: str
    severity: Severity
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """All findings, errors first; nothing is computed while there is an error."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "Verdict":
        """The findings in the order of how bad they are."""
        return cls(tuple(sorted(findings, key=lambda finding: ORDER.index(finding.severity))))

    @property
    def ok(self) -> bool:
        """Whether there is no error."""
        return not self.errors

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that forbid the computation."""
        return tuple(finding for finding in self.findings if finding.severity == "error")

    def require(self) -> None:
        """Raises ValidationRefused when there is an error."""
        if not self.ok:
            raise ValidationRefused(self)


def modules_of(found: Collection[object]) -> str:
    """`1 module`, `12 modules`."""
    return f"{len(found)} module{'' if len(found) == 1 else 's'}"


def some(names: Collection[str]) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    text = ", ".join(listed[:NAMED_AT_MOST])
    return text if len(listed) <= NAMED_AT_MOST else f"{text} and {len(listed) - NAMED_AT_MOST} more"


def joined(names: Collection[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last

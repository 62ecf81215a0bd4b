"""Compositions beside each other: every field in which they could differ."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.painting.rivals import evaluations
from workbench.recipes.edits import PARTS

if TYPE_CHECKING:
    from workbench.recipes.drafts import Draft, DraftTerm

NOTHING = "-"


@dataclass(frozen=True)
class Row:
    """One field, and what each composition has there."""

    field: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether not all have the same."""
        return len(set(self.values)) > 1


def side_by_side(drafts: "Sequence[Draft]") -> tuple[Row, ...]:
    """The fields in the order of the page: the sum, each vector in it, how it is painted, what is known of it."""
    found = [_fields(draft) for draft in drafts]
    names = dict.fromkeys(name for group in range(4) for one in found for name in one[group])
    merged = [{name: value for group in one for name, value in group.items()} for one in found]
    return tuple(Row(name, tuple(one.get(name, NOTHING) for one in merged)) for name in names)


def _fields(draft: "Draft") -> tuple[dict[str, str], ...]:
    """The four groups of fields, each name -> value."""
    return _of_the_sum(draft), _of_the_terms(draft), _of_the_sampling(draft), _of_the_verdict(draft)


def _of_the_sum(draft: "Draft") -> dict[str, str]:
    from arithmetic import parse

    stages = parse(draft.text).stages if draft.terms else ()
    return {
        "recipe": draft.text or NOTHING,
        "locked recipe": draft.locked or NOTHING,
        "base": draft.base.ref if draft.base else NOTHING,
        "stages": _listed(map(str, stages)),
    }


def _of_the_terms(draft: "Draft") -> dict[str, str]:
    """The terms by the model that they refer to; what stands twice has both values."""
    found: dict[str, list[str]] = {}
    for term in draft.terms:
        name = term.version.model if term.version else term.written.reference or term.written.text
        for field, value in _of_a_term(term).items():
            found.setdefault(f"{name}: {field}", []).append(value)
    return {field: " and ".join(values) for field, values in found.items()}


def _of_a_term(term: "DraftTerm") -> dict[str, str]:
    said = {"strength": f"{term.written.strength:g}"}
    said |= {PARTS[part].lower(): f"{factor:g} times" for part, factor in term.written.parts.items()}
    if term.written.other_scopes:
        said["scopes"] = term.written.other_scopes
    if term.version is None:
        return said
    facts = term.version.facts or {}
    return {
        **said,
        "version": str(term.version.number),
        "kind": str(term.version.kind),
        "licence": term.version.license or NOTHING,
        "family": term.version.family or NOTHING,
        "rank": _text(facts.get("rank")),
        "recommended strength": _text(term.version.recommended_strength),
    }


def _of_the_sampling(draft: "Draft") -> dict[str, str]:
    settings = {name.replace("_", " "): _text(value) for name, value in asdict(draft.sampling).items()}
    return {**settings, "U-Net evaluations": str(evaluations(draft.sampling))}


def _of_the_verdict(draft: "Draft") -> dict[str, str]:
    found: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for finding in draft.findings:
        found[finding.severity].append(finding.sentence)
    if draft.error:
        found["error"].append(draft.error.partition("\n")[0])
    words = {f"{severity}s": _listed(sentences) for severity, sentences in found.items()}
    return {**words, "trigger words": _listed(draft.trigger_words)}


def _listed(values: Any) -> str:
    return ", ".join(values) or NOTHING


def _text(value: Any) -> str:
    if value is None or value == "":
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)

"""What tells two versions apart."""

from dataclasses import dataclass
from typing import Any

from registry.values import Version

SAID = (
    *("title", "kind", "state", "license", "license_flags", "author", "note", "nsfw"),
    *("recommended_strength", "recommended_low", "recommended_high", "sampling"),
)
FOUND = ("family", "adapter", "layout", "variant", "prediction_type")
COUNTED = ("rank", "alpha", "dtype", "modules", "parameters")
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Difference:
    """One field that differs; None where a version has none."""

    field: str
    before: Any
    after: Any


def differences(before: Version, after: Version) -> tuple[Difference, ...]:
    """The fields in which two versions differ: what is said of them, what was found, their tags and their files."""
    one, other = _fields(before), _fields(after)
    names = dict.fromkeys((*one, *other))
    return tuple(Difference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name))


def _fields(version: Version) -> dict[str, Any]:
    facts = version.facts or {}
    found: dict[str, Any] = {name: getattr(version, name) for name in SAID}
    found["trigger words"] = list(version.trigger_words)
    found |= {name: (facts.get(name) or {}).get("value") for name in FOUND}
    found |= {name: facts.get(name) for name in COUNTED}
    found |= {f"tag {key}": value for key, value in version.tags.items()}
    found |= {f"file {file.path}": f"sha256:{file.sha256[:SHOWN_DIGITS]}" for file in version.artifacts}
    return found

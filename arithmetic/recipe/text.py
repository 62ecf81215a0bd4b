"""How a recipe writes its smallest parts, so that reading them gives them back."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches

PLAIN_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._-]*(:[a-z0-9]+|@[a-z0-9][a-z0-9._-]*)?|(\.{0,2}|~)/[^\s*|(){},;\"']+")
"""A name, a version, an alias, a digest or a path that stands without quotes, unless it is a number."""

PLAIN_VALUE = re.compile(r"[a-z0-9][a-z0-9._-]*")
PLAIN_SELECTOR = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TRUTH = {"true": True, "false": False}


def quoted(text: str) -> str:
    """`text` between double quotes, backslashes as JSON has them."""
    return json.dumps(text, ensure_ascii=False)


def reference_text(reference: str) -> str:
    """A reference, in quotes where it is no plain name or path."""
    return reference if PLAIN_REFERENCE.fullmatch(reference) and not NUMBER.fullmatch(reference) else quoted(reference)


def number_text(number: float) -> str:
    """The shortest decimal that is read as the same number: 0.3, 2, 1e-07."""
    return repr(number).removesuffix(".0")


def value_text(value: float | str) -> str:
    """The value of an option or a stage: a number, true or false, or a word, in quotes where it is not plain."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return number_text(value)
    plain = PLAIN_VALUE.fullmatch(value) and value not in TRUTH and not NUMBER.fullmatch(value)
    return value if plain else quoted(value)


def unknown(what: str, name: str, known: Iterable[str], where: str = "here") -> str:
    """`There is no stage 'rnak' here; the nearest is rank.`, or all that there are where none is near."""
    names = list(known)
    near = get_close_matches(name, names, n=1)
    rest = f"the nearest is {near[0]}" if near else f"there are: {', '.join(names) or 'none'}"
    return f"There is no {what} {name!r} {where}; {rest}."

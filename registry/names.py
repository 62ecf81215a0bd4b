"""The names that the catalog accepts."""

import re
import unicodedata

from registry.errors import InvalidName

SLUG_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")

RESERVED = frozenset(
    {
        "dare",
        "dataset",
        "dtype",
        "else",
        "energy",
        "error",
        "external",
        "extract",
        "job",
        "lbw",
        "rank",
        "sha256",
        "ties",
    }
)
"""Words that mean something else in a recipe or a reference."""


def require_slug(text: str, what: str = "name") -> str:
    """`text` itself when it is a legal, unreserved slug. Raises InvalidName otherwise."""
    if not SLUG_PATTERN.fullmatch(text):
        raise InvalidName(f"{what} {text!r}: expected [a-z0-9][a-z0-9._-]*, at most 128. Try {slug_of(text)!r}.")
    if text in RESERVED:
        raise InvalidName(f"{what} {text!r} is a word of recipes and references. Try {text + '-1'!r}.")
    return text


def slug_of(text: str) -> str:
    """The slug that looks most like `text`: a file name, a title."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9._-]+", "-", plain).strip("._-")[:128] or "unnamed"
    return f"{slug}-1" if slug in RESERVED else slug


def title_of(text: str) -> str:
    """A human title from a file name."""
    return re.sub(r"[\s_-]+", " ", text).strip() or text

"""The language of searches: words, phrases, patterns and conditions in one line.

papercut              a word of the name, title, trigger words or description that begins so
"paper cut"           these words, whole and in this order
*cut*                 a name or title of this shape; a star stands for anything
kind:style            one condition; kind:style,base is either of the two
tag:approved          has the tag; tag:approved=yes has it with this value
rank:64  rank:16..64  this rank; a rank in this range, ends included, either end may be left out
since:2025-03-01      made then or later; until: is before. Also with a time: 2025-03-01T12:00, UTC unless it says
-tag:nsfw  -papercut  not this; license:none has no licence stated
All of a query's parts have to be met. Quotes keep spaces, commas and colons: tag:"for print=a, b".
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from registry.errors import InvalidQuery

KEYS: Mapping[str, str] = {
    "adapter": "lora, locon, loha and so on",
    "alias": "an alias that means the version now",
    "author": "who made the version",
    "base": "a base that it belongs to: a model's name, or the text of an external base",
    "family": "sd15, sdxl and so on",
    "favourite": "a principal who keeps the model at hand",
    "hash": "the beginning, 8 digits or more, of any hash of the version or of one of its files",
    "kind": "base, acceleration, style, composition or other",
    "license": "a licence identifier, or none",
    "name": "the model's name",
    "nsfw": "yes or no",
    "rank": "a number or a range",
    "since": "a day or a moment",
    "state": "draft, published, deprecated or archived",
    "tag": "KEY or KEY=VALUE",
    "until": "a day or a moment",
}
"""Every key and what its value is."""

NEVER_EXCLUDED = ("hash", "since", "until")
QUOTED = r'"(?:[^"\\]|\\.)*"'
PART = re.compile(rf'(?P<minus>-?)(?:(?P<key>[a-z]+):)?(?P<said>{QUOTED}|[^\s"]+)(?=\s|$)')
PLAIN = re.compile(r'[^\s",:*-][^\s",:*]*')
STAR = "*"
BETWEEN_WORDS = (
    r"[\u0001-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a9\u00ab-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf\u00d7\u00f7"
    r"\u02c2-\u02c5\u02d2-\u02df\u037e\u0387\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u060c\u061b\u061f\u066a-\u066d"
    r"\u06d4\u0964\u0965\u1680\u2000-\u206f\u20a0-\u20cf\u2190-\u245f\u2500-\u2775\u2794-\u2bff\u2e00-\u2e7f"
    r"\u3000-\u3004\u3008-\u3020\u3030\u303d-\u303f\u30a0\u30fb\ufd3e\ufd3f\ufe00-\ufe1f\ufe30-\ufe6f\uff01-\uff0f"
    r"\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65\uffe0-\uffff\U0001f000-\U0001f0ff\U0001f10d-\U0001faff]+"
)
"""Spaces, punctuation, symbols and pictures, as a regular expression of Python's and of PostgreSQL's.

Spelled out, because what counts as punctuation there is up to each server's locale.
"""

ACCENTS = r"[\u0300-\u036f]"
"""What is left over of accents once letters and accents are taken apart."""


@dataclass(frozen=True)
class Term:
    """Something that the text must have, or with `excluded` must not.

    `exact` terms are phrases of whole words; others are words, or patterns where a star stands before another letter.
    """

    text: str
    exact: bool = False
    excluded: bool = False

    @property
    def is_pattern(self) -> bool:
        """Whether a star stands elsewhere than at the end."""
        return not self.exact and STAR in self.text.rstrip(STAR)

    @property
    def words(self) -> tuple[str, ...]:
        """The words that the index knows it by."""
        return words_of(self.text)

    def __str__(self) -> str:
        return "-" * self.excluded + (_quoted(self.text) if self.exact else self.text)


@dataclass(frozen=True)
class Condition:
    """Any of `values` for `key`, or with `excluded` none of them."""

    key: str
    values: tuple[str, ...]
    excluded: bool = False

    def __str__(self) -> str:
        said = ",".join(self.values)
        if len(self.values) == 1 and not PLAIN.fullmatch(said):
            said = _quoted(said)
        return f"{'-' * self.excluded}{self.key}:{said}"


@dataclass(frozen=True)
class Query:
    """Everything that a version has to meet; its text reads back as the same query."""

    terms: tuple[Term, ...] = ()
    conditions: tuple[Condition, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, (*self.terms, *self.conditions)))

    def says(self, key: str) -> bool:
        """Whether a condition on `key` that is not an exclusion is among them."""
        return any(condition.key == key and not condition.excluded for condition in self.conditions)


def parse_query(text: str) -> Query:
    """Read a query. Raises InvalidQuery with the place."""
    terms, conditions = [], []
    for part in _parts(text):
        excluded, key, said = bool(part["minus"]), part["key"], part["said"]
        if key is not None:
            _require_key(text, part.start("key"), key, excluded)
            conditions.append(Condition(key, _values(said), excluded))
        elif _is_quoted(said):
            terms.append(_worded(text, part, Term(_unquoted(said), exact=True, excluded=excluded)))
        else:
            terms.append(_worded(text, part, Term(said, excluded=excluded)))
    return Query(tuple(terms), tuple(conditions))


class Conditions(TypedDict, total=False):
    """Conditions as keyword arguments: a value, or several of which any will do; None is no condition."""

    adapter: "str | Sequence[str] | None"
    alias: "str | Sequence[str] | None"
    author: "str | Sequence[str] | None"
    base: "str | Sequence[str] | None"
    family: "str | Sequence[str] | None"
    favourite_of: "str | None"
    hash: "str | None"
    kind: "str | Sequence[str] | None"
    license: "str | Sequence[str] | None"
    name: "str | Sequence[str] | None"
    nsfw: "bool | None"
    rank: "int | str | Sequence[int] | None"
    since: "datetime | str | None"
    state: "str | Sequence[str] | None"
    until: "datetime | str | None"


def conditions_of(said: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Keyword arguments as conditions. Raises InvalidQuery for a key that there is not."""
    found = []
    for name, value in said.items():
        key = name.removesuffix("_of")
        _require_key(name, 0, key, excluded=False)
        if value is not None:
            several = isinstance(value, Iterable) and not isinstance(value, str)
            found.append(Condition(key, tuple(map(_said, value if several else [value]))))
    return tuple(found)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, datetime) else str(value)


def tag_conditions(tags: Mapping[str, str] | Iterable[str], *, excluded: bool = False) -> tuple[Condition, ...]:
    """Conditions on tags: a mapping says the value of each, a list has KEY or KEY=VALUE."""
    said = [f"{key}={value}" for key, value in tags.items()] if isinstance(tags, Mapping) else list(tags)
    return tuple(Condition("tag", (tag,), excluded) for tag in said)


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as the index on PostgreSQL cuts them: what is between separators, small, without accents."""
    plain = re.sub(ACCENTS, "", unicodedata.normalize("NFD", text))
    return tuple(re.sub(BETWEEN_WORDS, " ", plain).lower().split())


def _parts(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        part = PART.match(text, at)
        if part is None:
            raise _refused(text, at, 'a quote that does not end or stands inside a word; write "like this" or key:"so"')
        at = part.end()
        yield part


def _require_key(text: str, at: int, key: str, excluded: bool) -> None:
    if key not in KEYS:
        near = difflib.get_close_matches(key, KEYS, 1)
        hint = f"did you mean {near[0]}:" if near else f"keys are {', '.join(KEYS)}"
        raise _refused(text, at, f"{key!r} is no key; {hint}. To look for the text itself, put it in quotes")
    if excluded and key in NEVER_EXCLUDED:
        raise _refused(text, at, f"{key}: cannot be excluded")


def _worded(text: str, part: re.Match[str], term: Term) -> Term:
    """A term that something can be found by."""
    if not term.is_pattern and not term.words:
        meant = "tag:KEY, kind:style or a word" if term.excluded else "a word, or *cut* for a name of that shape"
        raise _refused(text, part.start(), f"{part['said']} holds no word, so it means nothing; say what: {meant}")
    return term


def _refused(text: str, at: int, reason: str) -> InvalidQuery:
    return InvalidQuery(f"query: {reason}.\n  {text}\n  {' ' * at}^")


def _values(said: str) -> tuple[str, ...]:
    return (_unquoted(said),) if _is_quoted(said) else tuple(said.split(","))


def _is_quoted(said: str) -> bool:
    return said.startswith('"')


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unquoted(said: str) -> str:
    return re.sub(r"\\(.)", r"\1", said[1:-1], flags=re.DOTALL)

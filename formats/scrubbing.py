"""Taking out of embedded metadata what must not leave a machine: secrets, credentials in addresses, and its paths.

What is harmless stays to the letter. A secret becomes REMOVED, a path its last name (`/home/ann/sd15.safetensors` is
`sd15.safetensors`), a home folder REMOVED, an address loses its user, its password and its secret parameters. JSON in
a text is scrubbed within, keys included. When in doubt more is taken than needed: words are lost, no secret stays.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from formats.addresses import ADDRESS, last_name, scrub_address
from formats.secrets import ASSIGNMENT, BEARER, PRIVATE_KEY, REMOVED, SECRET_NAME, TOKENS

__all__ = ["REMOVED", "scrub", "scrub_text"]

MAX_DEPTH = 32
"""How deep a document is followed; what lies deeper is removed."""

MAX_ROUNDS = 8

EMBEDDED_BYTES = re.compile(r"(?i)data:[\w.+/-]*(?:;[\w=.+-]+)*;base64,[A-Za-z0-9+/=_-]*")

ROOTS = (
    "Applications|Library|Users|Volumes|app|content|data|datasets?|dev|etc|fsx|gpfs|home|kaggle|lustre|media|mnt|models?"
    "|net|nfs|notebooks|opt|private|proc|projects?|root|run|runpod-volume|scratch|shared|srv|storage|sys|teamspace|tmp"
    "|usr|var|vol|volume|work|workdir|workspace"
)
WINDOWS_PATH = re.compile(
    r"""(?x) (?: (?<![A-Za-z])[A-Za-z]:(?=[\\/]) | (?<![\w\\])\\{2,4}(?:[?.]\\{1,2}(?:[A-Za-z]:)?)?(?=[\\\w.$-]) )
        [\\/]* (?:[^\\/:*?"<>|\r\n\t]+[\\/]+)* [^\\/:*?"<>|\r\n\t,;]*"""
)
"""A drive's path, a server's, or one that begins `\\\\?\\`; also with each backslash doubled. Names may have spaces."""

POSIX_PATH = re.compile(
    rf"""(?x) (?<![\w.:/~*<-]) (?:
      (?: ~[\w.-]*/+ | /+(?:{ROOTS})/+ ) (?:[^/:*?"'<>|\r\n\t,;=]+/+)* [^/:*?"'<>|\s,;=)\]}}]*
    | /+(?:{ROOTS})(?![\w.-])
    | (?: /+[\w.@%+-]+ ){{2,}} /*
    )"""
)
"""`~/...`, a path below a usual root (names may have spaces), or any absolute path of two names or more."""

WHOLE_PATH = re.compile(rf"(?:[A-Za-z]:[\\/]|\\\\[\w.$?-]|~[\w.-]*/|/+(?:{ROOTS})/)[^\r\n\t]*")
"""A text that is one path and nothing else, whatever characters its names have."""

MORE_THAN_A_PATH = re.compile(r"\s--?\w|[\s,;:=\"'(\[](?:[/~]|[A-Za-z]:[\\/]|\\\\)|://")

SUSPECT = re.compile(r"[/\\=:_-]|AKIA|ASIA|AIza|ya29|eyJ|r8_|(?i:bearer|basic|token)\s")
"""What every secret and every path has one of: a cheap look before the thorough ones."""


def scrub(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """`metadata` without secrets, credentials and machine paths; scrubbing again changes nothing more."""
    return _mapping(metadata, 0)


def scrub_text(text: str) -> str:
    """One text without secrets, credentials and machine paths; JSON in it is scrubbed within."""
    return _text(text, 0)


def _text(text: str, depth: int) -> str:
    document = _document(text)
    if document is None:
        return _plain(text)
    scrubbed = _value(document, depth + 1)
    return text if scrubbed == document else json.dumps(scrubbed, ensure_ascii=False)


def _document(text: str) -> Any:
    """The JSON object or array that `text` is; None where it is something else."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _value(value: Any, depth: int) -> Any:
    match value:
        case str() | Mapping() | list() | tuple() if depth > MAX_DEPTH:
            return REMOVED
        case str():
            return _text(value, depth)
        case Mapping():
            return _mapping(value, depth)
        case list() | tuple():
            return [_value(one, depth + 1) for one in value]
    return value


def _mapping(mapping: Mapping[str, Any], depth: int) -> dict[str, Any]:
    scrubbed: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for key, value in mapping.items():
        plain = name = _plain(str(key))
        while name in scrubbed:
            seen[plain] += 1
            name = f"{plain} ({seen[plain] + 1})"
        scrubbed[name] = _blank(value, depth) if SECRET_NAME.search(str(key)) else _value(value, depth + 1)
    return scrubbed


def _blank(value: Any, depth: int) -> Any:
    """REMOVED for everything said below a secret's name; what says nothing stays."""
    match value:
        case None | bool() | "" | "None" | "null":
            return value
        case Mapping() if depth < MAX_DEPTH:
            return {_plain(str(key)): _blank(one, depth + 1) for key, one in value.items()}
        case list() | tuple() if depth < MAX_DEPTH:
            return [_blank(one, depth + 1) for one in value]
    return REMOVED


def _plain(text: str) -> str:
    """Running text, scrubbed until nothing changes: what is taken out may leave more to be seen."""
    if not SUSPECT.search(text):
        return text
    for _ in range(MAX_ROUNDS):
        before, text = text, _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    """Addresses by their parts, bytes left alone, then secrets and paths in what is between them."""
    if WHOLE_PATH.fullmatch(text) and not MORE_THAN_A_PATH.search(text):
        text = last_name(text)
    text = PRIVATE_KEY.sub(REMOVED, text)
    pieces: list[str] = []
    position = 0
    for start, end, piece in _apart(text):
        pieces += [_between(text[position:start]), piece]
        position = end
    return "".join([*pieces, _between(text[position:])])


def _apart(text: str) -> Iterator[tuple[int, int, str]]:
    """Addresses and embedded bytes, where they stand and what remains of them; the first of two that overlap."""
    found = [(match.start(), match.end(), match[0]) for match in EMBEDDED_BYTES.finditer(text)]
    found += [(match.start(), match.end(), scrub_address(match[0], _between)) for match in ADDRESS.finditer(text)]
    position = 0
    for start, end, piece in sorted(found):
        if start >= position:
            yield start, end, piece
            position = end


def _between(text: str) -> str:
    text = TOKENS.sub(REMOVED, text)
    text = BEARER.sub(lambda match: f"{match[1]}{match[2]}{REMOVED}", text)
    text = ASSIGNMENT.sub(lambda match: f"{match['name']}{REMOVED}", text)
    text = WINDOWS_PATH.sub(lambda match: last_name(match[0]), text)
    return POSIX_PATH.sub(lambda match: last_name(match[0]), text)

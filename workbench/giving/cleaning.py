"""Takes secrets and machine paths out of a version's own files on their way out.

Headers, JSON documents (one, or one a line) and every file that is text are looked at. What is clean stays to the bit;
what is not is written again so that the libraries which open it still can: a document keeps its structure, a header its
tensors, and a tokenizer its tokens, which are looked through for secrets by their looks alone.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

SAFETENSORS = ".safetensors"
JSON_LINES = frozenset({".jsonl", ".ndjson"})
JSON = frozenset({".ipynb", ".json"})
CONFIGURATIONS = frozenset({".toml", ".yaml", ".yml"})
TEXTS = frozenset({".cfg", ".csv", ".ini", ".log", ".md", ".txt", *CONFIGURATIONS, *JSON, *JSON_LINES})
"""Suffixes of files that are text; of any other, the content says whether it is."""

LARGEST_BYTES = 64 << 20
"""A text of more bytes is not looked through."""

VOCABULARY_FILE, MERGES = "vocab.json", "merges.txt"
VOCABULARY, MERGED = "vocab", "merges"
"""Entries of a tokenizer, whose words are no paths and no names of secrets, whatever they look like."""

BARE_REMOVED = re.compile(r"(?m)((?:[:=]|^\s*-)\s*)\[removed\](?=\s*(?:$|#))")
"""What stands for a secret where YAML and TOML would read a list."""


@dataclass(frozen=True)
class Cleaned:
    """What was taken out of a file: keys, or the file's own path for running text; and why nothing could be.

    Where both are empty the file is clean, and nothing was written.
    """

    keys: tuple[str, ...] = ()
    unclean: str = ""


def write_cleaned(source: Path, target: Path, path: str) -> Cleaned:
    """Write `source`, which goes out under `path`, to `target` without secrets and machine paths, if it holds any."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == SAFETENSORS:
        return _write_header(source, target)
    if source.stat().st_size > LARGEST_BYTES:
        too_large = f"more than {LARGEST_BYTES >> 20} MiB of text"
        return Cleaned(unclean=too_large if suffix in TEXTS else "")
    content = source.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return Cleaned(unclean="no UTF-8 text" if suffix in TEXTS else "")
    if "\0" in text and suffix not in TEXTS:
        return Cleaned()
    plain, keys = _clean(text, path, suffix)
    if keys:
        target.write_bytes(plain.encode("utf-8"))
    return Cleaned(keys)


def _write_header(source: Path, target: Path) -> Cleaned:
    from formats import read_header, scrub
    from formats.rewriting import rewrite_metadata

    metadata = read_header(source).metadata
    scrubbed = scrub(metadata)
    keys = tuple(key for key, value in scrubbed.items() if metadata.get(key) != value)
    if keys:
        rewrite_metadata(source, target, scrubbed)
    return Cleaned(keys)


def _clean(text: str, path: str, suffix: str) -> tuple[str, tuple[str, ...]]:
    """The text as it may go out, and what was taken out of it."""
    from formats.scrubbing import scrub_text

    name = PurePosixPath(path).name
    if suffix in JSON_LINES:
        return _clean_lines(text, path)
    if suffix in JSON and (cleaned := _clean_document(text, name)) is not None:
        return cleaned
    are_tokens = name == MERGES and all(len(line.split(" ")) == 2 for line in text.splitlines() if line)
    plain = str(_by_looks(text)) if are_tokens else scrub_text(text)
    if plain != text and suffix in CONFIGURATIONS:
        plain = BARE_REMOVED.sub(r'\1"[removed]"', plain)
    return plain, () if plain == text else (path,)


def _clean_lines(text: str, path: str) -> tuple[str, tuple[str, ...]]:
    """Every line as a document of its own; one that is none as running text."""
    from formats.scrubbing import scrub_text

    lines, keys = [], []
    for line in text.splitlines(keepends=True):
        body = line.rstrip("\r\n")
        cleaned = _clean_document(body, "", indent=None)
        if cleaned is None:
            plain = scrub_text(body)
            cleaned = plain, () if plain == body else (path,)
        lines.append(cleaned[0] + line[len(body) :])
        keys += cleaned[1]
    return "".join(lines), tuple(dict.fromkeys(keys))


def _clean_document(text: str, name: str, indent: int | None = 2) -> tuple[str, tuple[str, ...]] | None:
    """A JSON document as it may go out; as it stands where it is clean, None where it is none."""
    repeated: list[str] = []

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object; of a key that stands twice, what readers do not see is not seen here either."""
        found = dict(entries)
        if len(found) < len(entries):
            repeated.extend(key for key, count in Counter(key for key, _ in entries).items() if count > 1)
        return found

    try:
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=pairs)
        is_vocabulary = name == VOCABULARY_FILE and _is_tokens(VOCABULARY, document, {})
        scrubbed = _by_looks(document) if is_vocabulary else _scrubbed(document)
        keys = tuple(dict.fromkeys([*_changes(document, scrubbed, ""), *map(_plain, repeated)]))
    except (ValueError, RecursionError):
        return None
    if not keys:
        return text, ()
    plain = json.dumps(scrubbed, indent=indent, ensure_ascii=_has_lone_surrogates(text, scrubbed))
    return plain + "\n" * (indent is not None), keys


def _has_lone_surrogates(text: str, document: Any) -> bool:
    """Whether a document holds halves of characters, which no UTF-8 can; only an escape can have brought them."""
    if "\\u" not in text:
        return False
    try:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _scrubbed(value: Any) -> Any:
    """A document without secrets and machine paths in its keys and values."""
    from formats.scrubbing import scrub_text
    from formats.secrets import SECRET_NAME

    if isinstance(value, str):
        return scrub_text(value)
    if isinstance(value, list):
        return [_scrubbed(one) for one in value]
    if not isinstance(value, dict):
        return value
    scrubbed: dict[str, Any] = {}
    for name, inner in value.items():
        if _is_tokens(name, inner, value):
            scrubbed[_free(name, scrubbed)] = _by_looks(inner)
        elif SECRET_NAME.search(name):
            scrubbed[_free(_plain(name), scrubbed)] = _blank(inner)
        else:
            scrubbed[_free(_plain(name), scrubbed)] = _scrubbed(inner)
    return scrubbed


def _blank(value: Any) -> Any:
    """What may be said under a secret's name: that there is nothing, or a switch."""
    from formats import scrub

    return scrub({"secret": value})["secret"]


def _plain(name: str) -> str:
    """A key as it may be told."""
    from formats.scrubbing import scrub_text

    return scrub_text(name)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or with a number where another key became the same."""
    number = 2
    free = name
    while free in taken:
        free = f"{name} ({number})"
        number += 1
    return free


def _is_tokens(name: str, value: Any, beside: Mapping[str, Any]) -> bool:
    """Whether an entry is a tokenizer's: word -> number, [word, score], or the merges that stand beside such a one."""
    if name == MERGED:
        return VOCABULARY in beside and _is_tokens(VOCABULARY, beside[VOCABULARY], beside)
    if name != VOCABULARY:
        return False
    if isinstance(value, dict):
        return all(isinstance(number, int) and not isinstance(number, bool) for number in value.values())
    pairs = value if isinstance(value, list) else [None]
    return all(isinstance(one, list) and len(one) == 2 and isinstance(one[1], float | int) for one in pairs)


def _by_looks(value: Any) -> Any:
    """A tokenizer's words without those that can only be secrets."""
    from formats.secrets import REMOVED, TOKENS

    match value:
        case str():
            return TOKENS.sub(REMOVED, value)
        case list():
            return [_by_looks(one) for one in value]
        case dict():
            scrubbed: dict[str, Any] = {}
            for key, inner in value.items():
                scrubbed[_free(str(_by_looks(key)), scrubbed)] = _by_looks(inner)
            return scrubbed
    return value


def _changes(before: Any, after: Any, at: str) -> Iterator[str]:
    """Where two documents of one structure differ, by the keys of `after`."""
    if isinstance(before, dict) and isinstance(after, dict) and len(before) == len(after):
        for (key, old), (name, new) in zip(before.items(), after.items(), strict=True):
            where = f"{at}.{name}" if at else name
            if key != name:
                yield where
            yield from _changes(old, new, where)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for old, new in zip(before, after, strict=True):
            yield from _changes(old, new, at)
    elif before is not after and before != after:
        yield at or "."

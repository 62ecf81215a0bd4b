"""Facts as other programs wrote them into headers: every value a text, often JSON, Python or the word None."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from formats.scrubbing import scrub_text
from formats.short_hashes import is_empty_hash

T = TypeVar("T")

MAX_LINE = 500
MAX_TEXT = 100_000
MAX_WORDS = 200
DOCUMENTS = ("lora_adapter_metadata", "ot_config", "software", "ss_network_args", "training_info")
"""Keys whose value is a JSON object; its entries go by `key.entry`, two levels deep."""

NOTHING = frozenset({"", "[]", "n/a", "none", "null", "undefined", "{}"})
UNSPEAKABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters and halves of surrogate pairs: no text, and what no text column can hold."""

SIZE = re.compile(r"[\s(\[]*(\d{1,5})(?:\s*[x,]\s*(\d{1,5}))?[\s)\]]*")


@dataclass(frozen=True, slots=True)
class Stated(Generic[T]):
    """A value and the key that it was read from."""

    value: T
    source: str


Reader = Callable[[object], T | None]


def first(flat: Mapping[str, object], keys: tuple[str, ...], read: Reader[T]) -> Stated[T] | None:
    """What the first of `keys` says that can be read; None where none of them says anything."""
    for key in keys:
        value = read(flat[key]) if key in flat else None
        if value is not None:
            return Stated(value, key)
    return None


def flatten(metadata: Mapping[str, object]) -> dict[str, object]:
    """`metadata` with the entries of the documents in it, by dotted keys."""
    flat: dict[str, object] = dict(metadata)
    for key in DOCUMENTS:
        for name, value in document(metadata.get(key)).items():
            flat.setdefault(f"{key}.{name}", value)
            if isinstance(value, dict):
                for inner, one in value.items():
                    flat.setdefault(f"{key}.{name}.{inner}", one)
    return flat


def document(value: object) -> dict[str, Any]:
    """The JSON object that a text holds; empty for anything else."""
    if isinstance(value, dict):
        return value
    try:
        found = json.loads(value) if isinstance(value, str) and value.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def line(value: object) -> str | None:
    """One line of scrubbed text; None for what says nothing."""
    found = text(value)
    return None if found is None else " ".join(found.split())[:MAX_LINE] or None


def text(value: object) -> str | None:
    """Scrubbed text with its lines; None for what says nothing."""
    said = UNSPEAKABLE.sub("", value[: 2 * MAX_TEXT]).strip()[:MAX_TEXT] if isinstance(value, str) else ""
    return None if said.lower() in NOTHING else scrub_text(said)


def words(value: object) -> tuple[str, ...] | None:
    """Words of a list, or of a text with commas between them, each once."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    parts = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else []
    found = dict.fromkeys(one for part in parts[: 10 * MAX_WORDS] if (one := line(part)))
    return tuple(found)[:MAX_WORDS] or None


def phrase(value: object) -> tuple[str, ...] | None:
    """A whole phrase as the only word, or a list's."""
    is_list = isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))
    one = None if is_list else line(value)
    return words(value) if is_list else None if one is None else (one,)


def number(value: object) -> float | None:
    """A finite number, also from a text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: object) -> int | None:
    """A whole number, also from a text such as `1e3`."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def count(value: object) -> int | None:
    """A whole number above 0."""
    found = whole(value)
    return found if found is not None and found > 0 else None


def flag(value: object) -> bool | None:
    """True or False, also as a text."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else None


def size(value: object) -> tuple[int, int] | None:
    """(width, height) from `1024x768`, `(512, 512)` or one number."""
    match = SIZE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if match is None or int(match[1]) == 0:
        return None
    return int(match[1]), int(match[2] or match[1])


def sha256(value: object) -> str | None:
    """64 hexadecimal digits in lower case, and not those of no byte."""
    digits = value.strip().lower().removeprefix("0x") if isinstance(value, str) else ""
    return digits if re.fullmatch(r"[0-9a-f]{64}", digits) and not is_empty_hash(digits) else None


def moment(value: object) -> str | None:
    """An ISO-8601 moment, from one or from seconds since 1970."""
    seconds = number(value)
    try:
        if seconds is not None:
            return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds > 1e8 else None
        return datetime.fromisoformat(value.strip()).isoformat() if isinstance(value, str) else None
    except (ValueError, OverflowError, OSError):
        return None


def prediction(value: object) -> str | None:
    """`epsilon`, `v_prediction` or `sample`, however it was written."""
    said = str(value).strip().lower().replace("-", "_")
    names = {"eps": "epsilon", "epsilon": "epsilon", "v": "v_prediction", "v_prediction": "v_prediction"}
    return names.get(said, "sample" if said in ("sample", "x0") else None)


def frequent(value: object) -> tuple[str, ...] | None:
    """The tags of a `ss_tag_frequency`, the most frequent ones first."""
    totals: dict[str, float] = {}
    for tags in document(value).values():
        for tag, times in _counted(tags):
            totals[tag] = totals.get(tag, 0) + times
    found = (line(tag) for tag in sorted(totals, key=lambda tag: (-totals[tag], tag))[:20])
    return tuple(tag for tag in found if tag) or None


def _counted(tags: object) -> Iterator[tuple[str, float]]:
    for tag, times in tags.items() if isinstance(tags, dict) else ():
        found = number(times)
        if found is not None:
            yield tag.strip(), found


def folders(value: object) -> tuple[str, ...] | None:
    """The names of the folders of a `ss_dataset_dirs`."""
    return tuple(name for key in list(document(value))[:MAX_WORDS] if (name := line(key))) or None

"""JSON that somebody else wrote: parsed within limits, so that no document can exhaust what reads it."""

import json
from typing import Any, NoReturn

MAX_NESTING = 64


def parse_document(raw: bytes | str) -> dict[str, Any]:
    """The object that `raw` holds. Raises ValueError for anything else, and for one nested too deeply."""
    try:
        document = json.loads(raw, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"is no text in UTF-8: {error.reason}") from error
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"holds {type(document).__name__}, expected an object")
    if _is_deeper(document, MAX_NESTING):
        raise ValueError(f"is nested more than {MAX_NESTING} deep")
    return document


def _is_deeper(document: Any, limit: int) -> bool:
    layer = [document]
    for _ in range(limit):
        layer = [inner for value in layer if isinstance(value, dict | list) for inner in _inner(value)]
        if not layer:
            return False
    return True


def _inner(value: dict[str, Any] | list[Any]) -> list[Any]:
    inner = list(value.values()) if isinstance(value, dict) else value
    return [item for item in inner if isinstance(item, dict | list)]


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")

"""JSON of other people, within limits."""

import pytest

from workbench.documents import MAX_NESTING, parse_document


def nested(depth: int) -> str:
    """An object with that many objects inside each other."""
    return '{"a":' * depth + "1" + "}" * depth


def test_an_object_comes_out_as_it_stands() -> None:
    assert parse_document(b'{"a": [1, "\xc3\xa9"]}') == {"a": [1, "é"]}


def test_the_nesting_limit_is_the_limit() -> None:
    assert parse_document(nested(MAX_NESTING))
    with pytest.raises(ValueError, match=f"more than {MAX_NESTING} deep"):
        parse_document(nested(MAX_NESTING + 1))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no JSON"),
        (b"not json", "no JSON"),
        (b"[]", "holds list"),
        (b'"text"', "holds str"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1', "no JSON"),
        (b"\xff\xfe\xfd", "UTF-8|no JSON"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "no JSON"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_anything_else_is_a_value_error_that_says_why(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_document(raw)

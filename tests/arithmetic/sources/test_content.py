import os
from pathlib import Path

import pytest

from arithmetic.sources.content import CHUNK, Content


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of the same three megabytes."""
    raw = os.urandom(3 * CHUNK + 5)
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(raw)
    return tmp_path / "a", tmp_path / "b"


def test_equal_bytes_are_equal_contents_and_one_key(pair: tuple[Path, Path]) -> None:
    assert len({Content(pair[0]), Content(pair[1])}) == 1


@pytest.mark.parametrize("place", [0, CHUNK + 7, 3 * CHUNK + 4])
def test_one_other_byte_anywhere_is_another_content(pair: tuple[Path, Path], place: int) -> None:
    raw = bytearray(pair[1].read_bytes())
    raw[place] ^= 1
    pair[1].write_bytes(raw)
    assert Content(pair[0]) != Content(pair[1])


def test_digests_decide_where_both_are_known(pair: tuple[Path, Path]) -> None:
    assert Content(pair[0], sha256="one") != Content(pair[1], sha256="other")
    assert Content(pair[0], sha256="one") == Content(pair[1])


def test_other_lengths_are_other_contents(pair: tuple[Path, Path]) -> None:
    pair[1].write_bytes(pair[1].read_bytes()[:-1])
    assert Content(pair[0]) != Content(pair[1])
    assert Content(pair[0]) != "a"

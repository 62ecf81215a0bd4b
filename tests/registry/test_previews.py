"""Pictures are found by what decides their pixels."""

from pathlib import Path

import pytest

from registry import InvalidReference, NotFound, Registry

pytestmark = pytest.mark.both_databases

FIRST, SECOND, THIRD = "1" * 64, "2" * 64, "3" * 64


@pytest.fixture
def note(registry: Registry, tmp_path: Path) -> str:
    (tmp_path / "note.txt").write_text("x")
    return registry.add(tmp_path / "note.txt", kind="other").ref


def test_a_picture_is_found_by_its_key_and_the_newest_one_counts(registry: Registry, note: str) -> None:
    registry.add_preview(note, {"n": 1}, b"one", {}, key=FIRST)
    registry.add_preview(note, {"n": 2}, b"two", {}, key=SECOND)
    newest = registry.add_preview(note, {"n": 3}, b"three", {}, key=FIRST)
    registry.add_preview(note, {"n": 4}, b"four", {})
    found = registry.pictures([FIRST, THIRD, SECOND, FIRST])
    assert {key: picture.settings["n"] for key, picture in found.items()} == {FIRST: 3, SECOND: 2}
    assert found[FIRST] == newest
    assert [picture.key for picture in registry.previews(note)] == [None, FIRST, SECOND, FIRST]
    assert registry.pictures([]) == {}


def test_more_keys_than_one_statement_takes_are_asked_for(registry: Registry, note: str) -> None:
    keys = [f"{i:064x}" for i in range(1_200)]
    registry.add_preview(note, {}, b"last", {}, key=keys[-1])
    registry.add_preview(note, {}, b"first", {}, key=keys[0])
    assert set(registry.pictures(keys)) == {keys[0], keys[-1]}


def test_numbers_are_added_to_those_of_the_newest_picture_of_a_key(registry: Registry, note: str) -> None:
    for number in (1, 2):
        registry.add_preview(note, {"n": number}, b"one", {"seconds": 2.0}, key=FIRST)
    registry.record_metrics(FIRST, {"sharpness": 0.5})
    registry.record_metrics(FIRST, {"agreement": None, "sharpness": 0.25})
    newest, oldest = registry.previews(note)
    assert newest.metrics == {"seconds": 2.0, "sharpness": 0.25, "agreement": None}
    assert oldest.metrics == {"seconds": 2.0}
    with pytest.raises(NotFound, match="Paint it first"):
        registry.record_metrics(SECOND, {})


def test_a_key_that_is_no_digest_is_refused(registry: Registry, note: str) -> None:
    with pytest.raises(InvalidReference, match="64 hexadecimal digits"):
        registry.add_preview(note, {}, b"one", {}, key="papercut")
    assert registry.previews(note) == []

"""What a process keeps between its jobs."""

import pytest

from distill_jobs.execution.shelf import Shelf


def test_a_thing_is_made_once_while_it_lies_there() -> None:
    shelf = Shelf(2)
    first = shelf.get("a", list)
    assert shelf.get("a", list) is first
    assert (shelf.made, "a" in shelf, "b" in shelf) == (1, True, False)


def test_the_least_recently_used_goes_before_the_next_is_made() -> None:
    shelf, there = Shelf(2), []
    for key in ("a", "b", "a"):
        shelf.get(key, dict)
    shelf.get("c", lambda: there.append([key for key in "abc" if key in shelf]))
    assert there == [["a"]]
    assert [key for key in "abc" if key in shelf] == ["a", "c"]


def test_what_cannot_be_made_leaves_no_trace_and_what_is_dropped_is_made_again() -> None:
    shelf = Shelf()
    with pytest.raises(ZeroDivisionError):
        shelf.get("a", lambda: 1 // 0)
    assert ("a" in shelf, shelf.made) == (False, 0)
    shelf.get("a", dict)
    shelf.drop("a")
    shelf.drop("a")
    shelf.get("a", dict)
    assert shelf.made == 2


def test_a_shelf_has_room() -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        Shelf(0)

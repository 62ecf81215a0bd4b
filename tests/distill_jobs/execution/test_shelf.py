"""What a process keeps between its jobs: as much as its memory allows."""

import pytest

from distill_jobs.execution.shelf import Shelf


def there(shelf: Shelf) -> str:
    return "".join(key for key in "abc" if key in shelf)


def test_a_thing_is_made_once_while_it_lies_there() -> None:
    shelf = Shelf()
    first = shelf.get("a", list)
    assert shelf.get("a", list) is first
    assert (shelf.made, there(shelf)) == (1, "a")


def test_the_least_recently_used_goes_before_the_next_is_made() -> None:
    shelf, seen = Shelf(20), []
    for key in ("a", "b", "a"):
        shelf.get(key, dict, size=10)
    shelf.get("c", lambda: seen.append(there(shelf)), size=10)
    assert seen == ["a"]
    assert (there(shelf), shelf.kept_bytes) == ("ac", 20)


def test_room_is_counted_in_bytes_not_in_things() -> None:
    shelf = Shelf(100)
    for key, size in (("a", 30), ("b", 30), ("c", 40)):
        shelf.get(key, dict, size=size)
    assert there(shelf) == "abc"
    shelf.get("d", dict, size=50)
    assert there(shelf) == "c"


def test_things_go_while_the_memory_is_short_and_stay_when_it_is_not() -> None:
    shelf = Shelf()

    def free() -> int:
        return 100 - shelf.kept_bytes

    for key in "ab":
        shelf.get(key, dict, size=30, needed=35, free=free)
    assert there(shelf) == "ab"
    shelf.get("c", dict, size=30, needed=60, free=free)
    assert there(shelf) == "bc"


def test_what_lies_there_needs_only_what_comes_on_top() -> None:
    shelf = Shelf()
    for key in "ab":
        shelf.get(key, dict, size=30, free=lambda: 100)
    shelf.get("b", dict, size=30, needed=70, free=lambda: 40)
    assert there(shelf) == "ab"
    shelf.get("b", dict, size=30, needed=71, free=lambda: 40)
    assert there(shelf) == "b"


def test_what_does_not_fit_beside_anything_is_made_alone() -> None:
    shelf = Shelf(10)
    shelf.get("a", dict, size=5)
    assert shelf.get("b", lambda: "large", size=50, needed=60, free=lambda: 0) == "large"
    assert there(shelf) == "b"


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
    with pytest.raises(ValueError, match="expected 1 byte or more"):
        Shelf(0)

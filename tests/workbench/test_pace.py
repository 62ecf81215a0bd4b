"""How far a long operation is."""

import pytest

from workbench.pace import ITEM_BYTES, Pace, Progress


class Clock:
    """Shows the time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_nothing_is_foretold_before_anything_is_done() -> None:
    assert Pace(1_000, 2, clock=Clock()).progress().seconds_left is None


def test_what_is_left_takes_as_long_as_the_same_amount_took() -> None:
    clock, told = Clock(), list[Progress]()
    pace = Pace(8 * ITEM_BYTES, 4, told.append, clock)
    clock.now += 10
    pace.advance(2 * ITEM_BYTES, "first")
    clock.now += 10
    pace.advance(2 * ITEM_BYTES, "second")
    assert [one.seconds_left for one in told] == [pytest.approx(30), pytest.approx(20)]
    assert (told[-1].done_items, told[-1].total_items, told[-1].note) == (2, 4, "second")


def test_many_small_items_count_although_they_have_few_bytes() -> None:
    clock = Clock()
    pace = Pace(100, 100, clock=clock)
    clock.now += 1
    pace.advance(25, "a quarter", items=25)
    assert pace.progress().seconds_left == pytest.approx(3, rel=0.01)


def test_the_end_is_the_end_even_when_more_came_than_was_announced() -> None:
    clock = Clock()
    pace = Pace(10, 1, clock=clock)
    clock.now += 5
    pace.advance(10_000_000, "more")
    assert pace.progress().seconds_left == 0

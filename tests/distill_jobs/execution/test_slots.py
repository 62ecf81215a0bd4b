"""Slots and devices."""

import pytest

from distill_jobs.errors import UnusableSlots
from distill_jobs.execution.slots import Slots


def test_there_is_one_slot_or_one_for_each_device_unless_more_are_said() -> None:
    assert Slots.of().count == 1
    assert Slots.of(devices=["0", "1"]).count == 2
    assert Slots.of(4, ["0", "1"]).count == 4


def test_slots_are_spread_evenly_over_the_devices() -> None:
    assert [Slots.of(4, ["2", "GPU-7f"]).device(slot) for slot in range(4)] == ["2", "GPU-7f", "2", "GPU-7f"]
    assert Slots.of(2).device(1) is None


def test_the_lowest_free_slot_is_next() -> None:
    assert [Slots.of(3).free(taken) for taken in ((), (0,), (0, 2), (0, 1, 2))] == [0, 1, 1, None]


@pytest.mark.parametrize(
    ("count", "devices", "words"),
    [
        (0, (), "0 slots: expected 1 or more"),
        (3, ("0", "1"), "3 slots on 2 devices: expected as many on each; take 2 slots or a multiple"),
        (1, ("0", "1"), "1 slots on 2 devices"),
        (None, ("0", "0"), "expected different ones"),
        (None, ("0", ""), "none empty"),
    ],
)
def test_slots_that_do_not_go_with_their_devices_are_refused(
    count: int | None, devices: tuple[str, ...], words: str
) -> None:
    with pytest.raises(UnusableSlots, match=words):
        Slots.of(count, devices)

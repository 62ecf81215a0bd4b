"""What is computed does not depend on how many threads do it, nor on how much memory they get."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from arithmetic import AlgebraError, Combination, compose, open_vector
from arithmetic.reduction import RankAtMost
from arithmetic.resources import LEAST_MEMORY, Resources, in_order
from arithmetic.sources.reduced import Reduced
from formats import Architecture


@pytest.mark.parametrize("resources", [Resources(workers=1), Resources(workers=4), Resources(memory=LEAST_MEMORY)])
def test_the_same_recipe_gives_the_same_bytes(
    resources: Resources, draft: Callable, save: Callable, table: Architecture, tmp_path: Path
) -> None:
    a, b = (open_vector(save(draft(seed), tmp_path / f"v{seed}"), table) for seed in (0, 1))
    total = Combination(((1.0, Reduced(Combination(((0.8, a), (1.0, b))), (RankAtMost(3),))),))
    for name, used in (("usual", Resources()), ("other", resources)):
        compose(total, tmp_path / name, recipe="r", locked="l", resources=used)
    assert (tmp_path / "usual").read_bytes() == (tmp_path / "other").read_bytes()


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_order(_slow_square, range(20), Resources(workers=4))) == [n * n for n in range(20)]


def test_no_more_is_in_flight_than_the_memory_allows() -> None:
    flying, most, lock = 0, 0, threading.Lock()

    def work(_: int) -> None:
        nonlocal flying, most
        with lock:
            flying += 1
            most = max(most, flying)
        time.sleep(0.005)
        with lock:
            flying -= 1

    list(in_order(work, range(12), Resources(workers=4, memory=LEAST_MEMORY), size=lambda _: LEAST_MEMORY // 2))
    assert most <= 2


def test_an_item_larger_than_the_memory_is_still_computed_alone() -> None:
    sizes = in_order(_slow_square, range(3), Resources(memory=LEAST_MEMORY), size=lambda _: 10 * LEAST_MEMORY)
    assert list(sizes) == [0, 1, 4]


def test_an_exception_stops_what_has_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("two")
        return number

    with pytest.raises(ValueError, match="two"):
        list(in_order(work, range(1000), Resources(workers=1)))
    assert len(begun) < 20


def test_torch_gets_its_threads_back() -> None:
    before = torch.get_num_threads()
    list(in_order(_slow_square, range(3), Resources()))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"workers": 0}, "at least 1"), ({"memory": 1}, "1 MiB"), ({"device": "abacus"}, "abacus")],
)
def test_what_cannot_be_used_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(AlgebraError, match=message):
        Resources(**settings)


def _slow_square(number: int) -> int:
    time.sleep(0.001 * (number % 3))
    return number * number

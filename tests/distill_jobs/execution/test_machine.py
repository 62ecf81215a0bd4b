"""What a machine offers."""

import psutil
import pytest

from distill_jobs.execution.machine import gpus_in_sight, offers_of


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("-1", 0), ("0", 1), ("0,3", 2), ("GPU-8f, GPU-11", 2)])
def test_a_jobs_gpus_are_those_that_it_is_shown(visible: str, count: int) -> None:
    assert gpus_in_sight(visible) == count


def test_a_machine_without_gpus_offers_its_memory_and_one_with_them_leaves_theirs_open() -> None:
    assert offers_of("").memory == psutil.virtual_memory().total
    assert (offers_of("0,1").gpus, offers_of("0,1").memory) == (2, None)

"""When jobs will have ended: in turn, as far as it is known."""

import pytest

from registry import Registry
from registry.jobs import Lease, Queue
from workbench.jobs.estimates import ends_in_turn, seconds_left


@pytest.mark.parametrize(
    ("busy", "waiting", "ends"),
    [
        ([10.0], [(1, 0.0, 5.0), (2, 0.0, 5.0)], {1: 15.0, 2: 20.0}),
        ([10.0, 12.0], [(1, 0.0, 5.0), (2, 0.0, 1.0), (3, 0.0, 1.0)], {1: 15.0, 2: 13.0, 3: 14.0}),
        ([10.0], [(1, 60.0, 5.0)], {1: 65.0}),
        ([], [(1, 0.0, 5.0)], {}),
        ([None], [(1, 0.0, 5.0)], {}),
        ([None, 3.0], [(1, 0.0, 5.0)], {1: 8.0}),
        ([10.0], [(1, 0.0, None), (2, 0.0, 5.0)], {}),
        ([10.0, 20.0], [(1, 0.0, None), (2, 0.0, 5.0)], {2: 25.0}),
    ],
)
def test_jobs_end_in_turn_on_the_slots_that_become_free(
    busy: list[float | None], waiting: list[tuple[int, float, float | None]], ends: dict[int, float]
) -> None:
    assert ends_in_turn(busy, waiting) == ends


def _claim(queue: Queue) -> Lease:
    lease = queue.claim("worker")
    assert lease is not None
    return lease


def test_a_queued_job_is_known_by_those_before_it_and_by_others_of_its_kind(registry: Registry) -> None:
    queue = Queue(registry)
    queue.submit("style", {"steps": 10})
    done = _claim(queue)
    queue.progress(done, {"step": 10, "steps": 10})
    finished = queue.finish(done, {})
    assert finished.started_at is not None
    assert finished.finished_at is not None
    took = (finished.finished_at - finished.started_at).total_seconds()

    running, first, second = (queue.submit("style", {"steps": 20}) for _ in range(3))
    unknown, behind = queue.submit("new", {"steps": 20}), queue.submit("style", {"steps": 20})
    assert seconds_left(registry, [first]) == {}
    lease = _claim(queue)
    assert seconds_left(registry, [queue.get(running.id), first]) == {}
    queue.progress(lease, {"step": 1, "steps": 20, "eta_seconds": 100.0})
    left = seconds_left(registry, [queue.get(running.id), first, second, unknown, behind, finished])
    assert left == {
        running.id: 100.0,
        first.id: pytest.approx(100.0 + 2 * took),
        second.id: pytest.approx(100.0 + 4 * took),
    }


def test_an_attempt_that_was_taken_up_again_tells_nothing_about_the_pace(registry: Registry) -> None:
    queue = Queue(registry)
    queue.submit("style", {"steps": 10})
    queue.release(_claim(queue))
    again = _claim(queue)
    queue.progress(again, {"step": 10, "steps": 10})
    queue.finish(again, {})
    queue.submit("style", {"steps": 10})
    queue.progress(_claim(queue), {"eta_seconds": 5.0})
    assert seconds_left(registry, [queue.submit("style", {"steps": 10})]) == {}

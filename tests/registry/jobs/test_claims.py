import pytest

from registry.jobs import JobState, Lease, Queue
from registry.jobs.finishing import retry_delay

pytestmark = pytest.mark.both_databases

EXPIRED = 0.0
"""A lease of no length has run out as soon as it is given."""


def _claim(queue: Queue, worker: str = "worker", seconds: float = 60) -> Lease:
    lease = queue.claim(worker, lease_seconds=seconds)
    assert lease is not None
    return lease


def test_a_job_whose_worker_went_silent_is_taken_up_by_another_with_a_new_token(queue: Queue) -> None:
    queue.submit("x", {})
    first = _claim(queue, "one", EXPIRED)
    second = _claim(queue, "two")
    assert (second.job.id, second.owner, second.token, second.job.attempt) == (first.job.id, "two", 2, 2)
    assert [event.action for event in queue.events(first.job.id)] == ["submitted", "claimed", "reclaimed"]
    assert queue.events(first.job.id)[-1].detail == {"worker": "two", "abandoned_by": "one"}


def test_a_job_under_a_good_lease_is_left_alone(queue: Queue) -> None:
    queue.submit("x", {})
    _claim(queue, "one")
    assert queue.claim("two") is None


def test_a_job_that_used_up_its_attempts_is_dead(queue: Queue) -> None:
    job = queue.submit("x", {}, max_attempts=2)
    for _ in range(2):
        _claim(queue, "one", EXPIRED)
    assert queue.claim("two") is None
    dead = queue.get(job.id)
    assert (dead.state, dead.attempt, dead.last_error) == ("dead", 2, "attempt 2 of 2: one stopped answering")


@pytest.mark.parametrize(("wish", "state", "attempt"), [("cancel", "cancelled", 1), ("pause", "paused", 0)])
def test_an_abandoned_job_becomes_what_was_wanted_of_it(queue: Queue, wish: str, state: str, attempt: int) -> None:
    job = queue.submit("x", {}, max_attempts=1)
    _claim(queue, "one", EXPIRED)
    getattr(queue, wish)(job.id)
    assert queue.get(job.id).state == JobState.RUNNING
    assert queue.claim("two") is None
    settled = queue.get(job.id)
    assert (settled.state, settled.attempt, settled.wanted) == (state, attempt, "run")


def test_settling_abandoned_jobs_does_not_keep_a_worker_from_the_next_one(queue: Queue) -> None:
    dying = queue.submit("x", {}, priority=9, max_attempts=1)
    waiting = queue.submit("x", {})
    _claim(queue, "one", EXPIRED)
    assert _claim(queue, "two").job.id == waiting.id
    assert queue.get(dying.id).state == "dead"


def test_a_failed_attempt_is_tried_again_after_a_delay_until_none_is_left(queue: Queue) -> None:
    job = queue.submit("x", {}, max_attempts=2)
    again = queue.fail(_claim(queue), "out of memory", delay_seconds=3_600)
    assert (again.state, again.attempt, again.last_error) == ("queued", 1, "out of memory")
    assert queue.claim("worker") is None
    queue.cancel(job.id)
    queue.retry(job.id)
    for state in ("queued", "dead"):
        assert queue.fail(_claim(queue), "again", delay_seconds=0).state == state
    assert queue.claim("worker") is None


def test_the_delay_before_the_next_attempt_doubles_up_to_a_limit(queue: Queue) -> None:
    assert [retry_delay(attempt) for attempt in (1, 2, 3, 20)] == [5, 10, 20, 300]
    queue.submit("x", {})
    lease = _claim(queue)
    again = queue.fail(lease, "no")
    assert lease.job.started_at is not None
    assert (again.run_at - lease.job.started_at).total_seconds() >= 5


def test_a_failure_that_is_final_is_not_tried_again(queue: Queue) -> None:
    queue.submit("x", {})
    failed = queue.fail(_claim(queue), "the data set is empty", retry=False)
    assert (failed.state, failed.last_error) == ("failed", "the data set is empty")
    assert queue.claim("worker") is None


@pytest.mark.parametrize(("wish", "state"), [("cancel", "cancelled"), ("pause", "paused")])
def test_a_failure_while_something_else_was_wanted_ends_as_wanted(queue: Queue, wish: str, state: str) -> None:
    job = queue.submit("x", {})
    lease = _claim(queue)
    getattr(queue, wish)(job.id)
    assert queue.fail(lease, "stopped").state == state


def test_neither_a_pause_nor_a_worker_that_shuts_down_costs_an_attempt(queue: Queue) -> None:
    job = queue.submit("x", {}, max_attempts=1)
    for _ in range(3):
        lease = _claim(queue)
        assert lease.job.attempt == 1
        queue.pause(job.id)
        assert queue.release(lease).state == "paused"
        queue.resume(job.id)
    released = queue.release(_claim(queue))
    assert (released.state, released.attempt) == ("queued", 0)
    assert queue.finish(_claim(queue), {}).state == "succeeded"


def test_one_job_can_be_claimed_by_its_number(queue: Queue) -> None:
    first, second = queue.submit("x", {"n": 1}), queue.submit("x", {"n": 2})
    lease = queue.claim_job(second.id, "worker")
    assert lease is not None
    assert lease.job.id == second.id
    assert queue.claim_job(second.id, "other") is None
    queue.cancel(first.id)
    assert queue.claim_job(first.id, "worker") is None

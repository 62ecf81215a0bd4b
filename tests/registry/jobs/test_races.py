"""What happens at once to one job ends as if it had happened in turn."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

import pytest

from registry import IllegalTransition, LeaseLost, Registry
from registry.jobs import Lease, Queue

pytestmark = pytest.mark.both_databases

T = TypeVar("T")
CROWD = 8


def _at_once(registry: Registry, act: Callable[[Queue, int], T]) -> list[T]:
    """What `act` gives to each of a crowd, every one with connections of its own."""

    def alone(number: int) -> T:
        with Registry.open(registry.home, registry.url, actor=f"actor-{number}") as own:
            return act(Queue(own), number)

    with ThreadPoolExecutor(CROWD) as pool:
        return list(pool.map(alone, range(CROWD)))


def test_a_key_that_many_submit_is_one_job(registry: Registry, queue: Queue) -> None:
    jobs = _at_once(registry, lambda own, _: own.submit("x", {}, idempotency_key="k").id)
    assert len(set(jobs)) == 1
    assert [event.action for event in queue.events(jobs[0])] == ["submitted"]


def test_an_abandoned_job_has_one_heir(registry: Registry, queue: Queue) -> None:
    queue.submit("x", {})
    assert queue.claim("gone", lease_seconds=0) is not None
    heirs = [lease for lease in _at_once(registry, lambda own, n: own.claim(f"heir-{n}")) if lease is not None]
    assert [lease.token for lease in heirs] == [2]


def test_a_job_is_ended_once(registry: Registry, queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None

    def end(own: Queue, number: int) -> bool:
        try:
            own.finish(lease, {"by": number}) if number % 2 else own.fail(lease, "no", retry=False)
        except LeaseLost:
            return False
        return True

    assert _at_once(registry, end).count(True) == 1
    assert len(queue.events(job.id)) == 3


def test_what_is_cancelled_is_not_claimed_and_what_is_claimed_is_not_cancelled(
    registry: Registry, queue: Queue
) -> None:
    jobs = {queue.submit("x", {"n": n}).id for n in range(40)}

    def act(own: Queue, number: int) -> set[int]:
        if number == 0:
            return {job.id for job in own.cancel_pending()}
        claimed: list[Lease] = []
        while lease := own.claim(f"worker-{number}"):
            claimed.append(lease)
        return {lease.job.id for lease in claimed}

    cancelled, *claimed = _at_once(registry, act)
    assert sum(map(len, claimed)) + len(cancelled) == len(jobs)
    assert set.union(cancelled, *claimed) == jobs
    assert {job.id for job in queue.list(state="cancelled")} == cancelled
    assert queue.count(state="running") == len(jobs) - len(cancelled)


def test_wishes_that_contradict_each_other_leave_a_legal_history(registry: Registry, queue: Queue) -> None:
    job = queue.submit("x", {})
    wishes = ("pause", "resume", "cancel", "retry")

    def wish(own: Queue, number: int) -> None:
        for _ in range(3):
            try:
                getattr(own, wishes[number % len(wishes)])(job.id)
            except IllegalTransition:
                continue

    _at_once(registry, wish)
    after = {
        "submitted": "queued",
        "paused": "paused",
        "resumed": "queued",
        "cancelled": "cancelled",
        "retried": "queued",
    }
    before = {"paused": {"queued"}, "resumed": {"paused"}, "cancelled": {"queued", "paused"}, "retried": {"cancelled"}}
    actions = [event.action for event in queue.events(job.id)]
    for earlier, later in pairwise(actions):
        assert after[earlier] in before[later], actions
    assert queue.get(job.id).state == after[actions[-1]]

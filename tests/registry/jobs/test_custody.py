"""Who sees to a lease: its worker, then the job's own process, then another worker; the token stays the same."""

import time

import pytest

from registry import LeaseLost
from registry.jobs import Queue, Wanted

pytestmark = pytest.mark.both_databases


def test_a_process_leaves_a_lease_alone_while_its_worker_sees_to_it(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker", lease_seconds=60)
    assert lease is not None
    assert queue.keep(lease, "process", lease_seconds=90, spare_seconds=30) == Wanted.RUN
    seen = queue.get(job.id)
    assert (seen.lease_owner, seen.lease_until) == ("worker", lease.until)


def test_a_neglected_lease_is_kept_by_the_process_which_goes_on_under_its_token(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker", lease_seconds=60)
    assert lease is not None
    queue.pause(job.id)
    for _ in range(2):
        assert queue.keep(lease, "process", lease_seconds=90, spare_seconds=61) == Wanted.PAUSE
    seen = queue.get(job.id)
    assert (seen.lease_owner, seen.lease_token, seen.attempt) == ("process", lease.token, 1)
    assert seen.lease_until is not None
    assert seen.lease_until > lease.until
    actions = [event.action for event in queue.events(job.id)]
    assert actions == ["submitted", "claimed", "pause-wanted", "kept"]
    queue.metric(lease, 1, "loss", 0.5)


def test_a_worker_that_was_away_does_not_own_what_the_process_keeps(queue: Queue) -> None:
    queue.submit("x", {})
    lease = queue.claim("first", lease_seconds=60)
    assert lease is not None
    queue.keep(lease, "process", lease_seconds=60, spare_seconds=61)
    with pytest.raises(LeaseLost, match="process sees to it now, not first"):
        queue.take_over(lease, "second")


def test_a_lease_changes_hands_and_stays_the_same_lease(queue: Queue) -> None:
    job = queue.submit("x", {})
    first = queue.claim("first", lease_seconds=60)
    assert first is not None
    second = queue.take_over(first, "second", lease_seconds=90)
    assert (second.owner, second.token) == ("second", first.token)
    assert second.until > first.until
    with pytest.raises(LeaseLost):
        queue.take_over(first, "third")
    assert queue.get(job.id).lease_owner == "second"
    assert queue.finish(first, {}).state == "succeeded"


def test_a_zombie_can_neither_keep_nor_take_over(queue: Queue) -> None:
    queue.submit("x", {})
    zombie = queue.claim("zombie", lease_seconds=0.01)
    assert zombie is not None
    time.sleep(0.05)
    heir = queue.claim("heir", lease_seconds=60)
    assert heir is not None
    with pytest.raises(LeaseLost):
        queue.keep(zombie, "process", lease_seconds=60, spare_seconds=61)
    with pytest.raises(LeaseLost):
        queue.take_over(zombie, "zombie")
    assert queue.renew(heir) == Wanted.RUN

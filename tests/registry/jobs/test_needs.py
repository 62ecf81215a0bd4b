import pytest

from registry import InvalidName, NotFound
from registry.jobs import Offers, Queue

pytestmark = pytest.mark.both_databases

GIB = 2**30


def test_a_job_that_needs_a_gpu_is_never_claimed_by_a_worker_that_has_none(queue: Queue) -> None:
    job = queue.submit("x", {}, priority=9, needs_gpu=1)
    plain = queue.submit("x", {})
    lease = queue.claim("processor")
    assert lease is not None
    assert lease.job.id == plain.id
    assert queue.claim("processor") is None
    assert queue.claim_job(job.id, "processor") is None
    lease = queue.claim("graphics", offers=Offers(gpus=1))
    assert lease is not None
    assert (lease.job.id, lease.job.needs_gpu) == (job.id, 1)


@pytest.mark.parametrize(
    ("gpus", "memory", "is_claimed"),
    [(2, 24 * GIB, True), (1, 24 * GIB, False), (2, 24 * GIB - 1, False), (4, 80 * GIB, True), (2, None, True)],
)
def test_a_job_goes_where_its_gpus_and_its_memory_are(
    queue: Queue, gpus: int, memory: int | None, is_claimed: bool
) -> None:
    queue.submit("x", {}, needs_gpu=2, needs_memory=24 * GIB)
    assert (queue.claim("worker", offers=Offers(gpus, memory)) is not None) == is_claimed


def test_one_job_is_claimed_by_its_number_where_its_needs_are_met(queue: Queue) -> None:
    job = queue.submit("x", {}, needs_gpu=1)
    assert queue.claim_job(job.id, "graphics", offers=Offers(gpus=1)) is not None
    with pytest.raises(NotFound, match="no job has number 99"):
        queue.claim_job(99, "graphics")


def test_an_abandoned_job_goes_to_none_that_cannot_run_it(queue: Queue) -> None:
    queue.submit("x", {}, needs_gpu=1)
    assert queue.claim("graphics", lease_seconds=0, offers=Offers(gpus=1)) is not None
    assert queue.claim("processor") is None
    heir = queue.claim("heir", offers=Offers(gpus=1))
    assert heir is not None
    assert heir.token == 2


def test_any_worker_settles_an_abandoned_job_that_must_not_run_again(queue: Queue) -> None:
    for wish in (queue.cancel, queue.pause, lambda job: None):
        job = queue.submit("x", {}, needs_gpu=1, max_attempts=1)
        assert queue.claim("graphics", lease_seconds=0, offers=Offers(gpus=1)) is not None
        wish(job.id)
        assert queue.claim("processor") is None
    assert [job.state for job in queue.list()] == ["dead", "paused", "cancelled"]


def test_there_is_work_only_for_a_worker_that_can_do_it(queue: Queue) -> None:
    assert not queue.has_work()
    queue.submit("x", {}, lane="interactive", needs_gpu=1)
    assert not queue.has_work(["interactive"])
    assert not queue.has_work(["batch"], offers=Offers(gpus=1))
    assert queue.has_work(["batch", "interactive"], offers=Offers(gpus=1))
    lease = queue.claim("graphics", ["interactive"], offers=Offers(gpus=1))
    assert lease is not None
    assert queue.has_work(["interactive"], offers=Offers(gpus=1))
    queue.finish(lease, {})
    assert not queue.has_work(["interactive"], offers=Offers(gpus=1))


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"needs_gpu": -1}, "needs_gpu -1: expected a number of GPUs"),
        ({"needs_memory": -1}, "needs_memory -1: expected bytes"),
        ({"priority": 2**40}, "priority 1099511627776: expected -2147483647 to 2147483647"),
    ],
)
def test_needs_and_priorities_that_cannot_be_are_refused(queue: Queue, needs: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidName, match=message):
        queue.submit("x", {}, **needs)

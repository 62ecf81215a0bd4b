from collections.abc import Callable
from pathlib import Path

import pytest

from registry import LeaseLost, NotFound, Registry
from registry.jobs import Lease, Queue

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]
SUBJECT = "0" * 64

Attempt = Callable[[Registry, Queue, Lease, Path], object]

WRITES: dict[str, Attempt] = {
    "renew": lambda registry, queue, lease, path: queue.renew(lease, {"step": 9}),
    "progress": lambda registry, queue, lease, path: queue.progress(lease, {"step": 9}),
    "metric": lambda registry, queue, lease, path: queue.metric(lease, 9, "loss", 9.0),
    "write_metrics": lambda registry, queue, lease, path: queue.write_metrics(lease, [(9, "loss", 9.0)] * 2),
    "write no metrics": lambda registry, queue, lease, path: queue.write_metrics(lease, []),
    "attach_external": lambda registry, queue, lease, path: queue.attach_external(lease, "zombie"),
    "attach_log": lambda registry, queue, lease, path: queue.attach_log(lease, "zombie.txt"),
    "finish": lambda registry, queue, lease, path: queue.finish(lease, {"zombie": True}),
    "fail": lambda registry, queue, lease, path: queue.fail(lease, "zombie"),
    "release": lambda registry, queue, lease, path: queue.release(lease),
    "keep": lambda registry, queue, lease, path: queue.keep(lease, "zombie", lease_seconds=60, spare_seconds=90),
    "take_over": lambda registry, queue, lease, path: queue.take_over(lease, "zombie"),
    "add_preview": lambda registry, queue, lease, path: registry.add_preview(SUBJECT, {}, b"png", {}, lease=lease),
    "add": lambda registry, queue, lease, path: registry.add(path, kind="other", lease=lease),
    "add and finish": lambda registry, queue, lease, path: registry.add(path, kind="other", lease=lease, result={}),
}


def _taken_over(queue: Queue) -> Lease:
    lease = queue.claim("zombie", lease_seconds=0)
    assert lease is not None
    assert queue.claim("heir") is not None
    return lease


def _finished(queue: Queue) -> Lease:
    lease = queue.claim("zombie")
    assert lease is not None
    queue.finish(lease, {"honest": True})
    return lease


def _cancelled_when_silent(queue: Queue) -> Lease:
    lease = queue.claim("zombie", lease_seconds=0)
    assert lease is not None
    queue.cancel(lease.job.id)
    assert queue.claim("heir") is None
    return lease


def _released_and_paused(queue: Queue) -> Lease:
    lease = queue.claim("zombie")
    assert lease is not None
    queue.pause(lease.job.id)
    queue.release(lease)
    return lease


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("lose", [_taken_over, _finished, _cancelled_when_silent, _released_and_paused])
def test_a_worker_that_lost_its_lease_can_write_nothing(
    registry: Registry, queue: Queue, tmp_path: Path, lose: Callable[[Queue], Lease], write: str
) -> None:
    job = queue.submit("x", {})
    lease = lose(queue)
    path = tmp_path / "zombie.txt"
    path.write_text("from the grave")
    before = (queue.get(job.id), queue.events(job.id), queue.metrics(job.id))
    with pytest.raises(LeaseLost, match=r"lease 1 of zombie is over.*Stop"):
        WRITES[write](registry, queue, lease, path)
    assert (queue.get(job.id), queue.events(job.id), queue.metrics(job.id)) == before
    with pytest.raises(NotFound):
        registry.get("zombie")
    assert [path for path in registry.store.folder.rglob("*") if path.is_file()] == []


def test_an_expired_lease_that_nobody_took_over_still_counts(queue: Queue) -> None:
    queue.submit("x", {})
    lease = queue.claim("slow", lease_seconds=0)
    assert lease is not None
    assert queue.finish(lease, {"late": True}).state == "succeeded"


def test_a_token_of_one_job_opens_no_other(queue: Queue) -> None:
    for number in range(2):
        queue.submit("x", {"n": number})
    first, second = queue.claim("a"), queue.claim("b")
    assert first is not None
    assert second is not None
    queue.finish(first, {})
    assert queue.get(second.job.id).state == "running"


def test_work_done_twice_is_one_version(registry: Registry, queue: Queue, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("the same result")
    queue.submit("x", {})
    first = queue.claim("one", lease_seconds=0)
    assert first is not None
    once = registry.add(path, kind="other", lease=first)
    second = queue.claim("two")
    assert second is not None
    again = registry.add(path, kind="other", lease=second, result={"loss": 1.0})
    assert again.id == once.id
    assert [event.action for event in registry.history("note")].count("added") == 1
    assert [edge.parent for edge in registry.lineage("note").edges] == [second.job.ref]
    assert queue.get(second.job.id).result == {"loss": 1.0, "version": "note:1"}

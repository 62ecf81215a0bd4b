"""On PostgreSQL the queue's writes go on while a catalog's writer holds its turn; what needs the turn waits for it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from registry import LeaseLost, Registry
from registry.jobs import Lease, Queue

Act = Callable[[Queue, Lease], object]

ACTS: dict[str, Act] = {
    "submit": lambda queue, lease: queue.submit("x", {}),
    "claim": lambda queue, lease: queue.claim("other"),
    "claim_job": lambda queue, lease: queue.claim_job(lease.job.id + 1, "other"),
    "renew": lambda queue, lease: queue.renew(lease),
    "progress": lambda queue, lease: queue.progress(lease, {"step": 1}),
    "attach_log": lambda queue, lease: queue.attach_log(lease, "log"),
    "attach_external": lambda queue, lease: queue.attach_external(lease, "ray-1"),
    "write_metrics": lambda queue, lease: queue.write_metrics(lease, [(1, "loss", 0.5)]),
    "finish": lambda queue, lease: queue.finish(lease, {}),
    "fail": lambda queue, lease: queue.fail(lease, "no"),
    "release": lambda queue, lease: queue.release(lease),
    "cancel": lambda queue, lease: queue.cancel(lease.job.id),
    "pause": lambda queue, lease: queue.pause(lease.job.id),
    "resume": lambda queue, lease: queue.resume(_paused(queue)),
    "prioritise": lambda queue, lease: queue.prioritise(lease.job.id, 5),
    "cancel_pending": lambda queue, lease: queue.cancel_pending(),
}


def _paused(queue: Queue) -> int:
    return queue.pause(queue.submit("x", {}).id).id


@pytest.fixture
def backend() -> str:
    """SQLite has one writer at a time, whatever is asked."""
    return "postgresql"


@pytest.fixture
def lease(queue: Queue) -> Lease:
    """A lease on the first of two jobs."""
    for number in range(2):
        queue.submit("x", {"n": number})
    claimed = queue.claim("worker")
    assert claimed is not None
    return claimed


@pytest.fixture
def hurried(registry: Registry) -> Iterator[Queue]:
    """The same queue for somebody who waits for no lock for more than two seconds."""
    url = registry.database.engine.url.update_query_dict({"options": "-c statement_timeout=2000"})
    with Registry.open(registry.home, url.render_as_string(hide_password=False), actor="hurried") as own:
        yield Queue(own)


@pytest.mark.parametrize("act", ACTS)
def test_what_concerns_one_job_waits_for_no_writer_of_the_catalog(
    registry: Registry, hurried: Queue, lease: Lease, act: str
) -> None:
    with registry.database.writing():
        ACTS[act](hurried, lease)


def test_what_looks_at_a_second_job_waits_for_its_turn(registry: Registry, queue: Queue) -> None:
    ended = queue.cancel(queue.submit("x", {}, idempotency_key="k").id)
    waited = [
        threading.Thread(target=queue.submit, args=("x", {}), kwargs={"idempotency_key": "other"}),
        threading.Thread(target=queue.retry, args=(ended.id,)),
    ]
    with registry.database.writing():
        for thread in waited:
            thread.start()
        for thread in waited:
            thread.join(0.3)
            assert thread.is_alive()
    for thread in waited:
        thread.join()
    assert queue.count(state="queued") == 2


def test_a_registration_and_a_takeover_cannot_both_win(registry: Registry, queue: Queue, tmp_path: Path) -> None:
    queue.submit("x", {})
    slow = queue.claim("slow", lease_seconds=0)
    assert slow is not None
    path = tmp_path / "note.txt"
    path.write_text("late")
    refused: list[LeaseLost] = []

    def register() -> None:
        try:
            registry.add(path, kind="other", lease=slow, result={})
        except LeaseLost as lost:
            refused.append(lost)

    with registry.database.writing():
        thread = threading.Thread(target=register)
        thread.start()
        heir = queue.claim("heir")
    thread.join()
    assert heir is not None
    assert len(refused) == 1
    assert queue.finish(heir, {}).state == "succeeded"

"""One job in a process of its own, under a lease that somebody else took or under its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from distill_jobs.errors import NotClaimable
from distill_jobs.execution.leased import LEASE_VARIABLE, Custody, run_leased
from registry import Registry
from registry.jobs import Lease, Queue

FUNCTIONS = Path(__file__).parents[1] / "functions"
PATIENCE_SECONDS = 120


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with Registry.open(tmp_path / "home", actor="tester") as registry:
        yield registry


@pytest.fixture
def queue(registry: Registry) -> Queue:
    return Queue(registry)


def started(registry: Registry, lease: Lease, lease_seconds: float) -> "subprocess.Popen[bytes]":
    """The process of a leased job."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(FUNCTIONS), *filter(None, sys.path)]),
        "TAU_HOME": str(registry.home),
        "TAU_DATABASE_URL": registry.url,
        LEASE_VARIABLE: Custody(lease.token, "process", lease_seconds).to_text(),
    }
    return subprocess.Popen(
        [sys.executable, str(FUNCTIONS / "run_job.py"), "--job", str(lease.job.id)], env=environment
    )


def until(met: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_process_outlives_the_worker_that_took_its_lease(registry: Registry, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 60, "seconds": 0.1}, max_attempts=1)
    lease = queue.claim("worker", lease_seconds=1)
    assert lease is not None
    with started(registry, lease, 5.0) as process:
        until(lambda: queue.get(job.id).lease_owner == "process" or process.poll() is not None)
        assert process.wait(PATIENCE_SECONDS) == 0
    seen = queue.get(job.id)
    assert (seen.state, seen.result, seen.lease_token) == ("succeeded", {"counted": 60, "began_at": 0}, 1)


def test_a_process_that_slept_past_its_lease_writes_nothing_any_more(registry: Registry, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 500, "seconds": 0.02})
    lease = queue.claim("worker", lease_seconds=0.5)
    assert lease is not None
    with started(registry, lease, 1.0) as process:
        until(lambda: queue.get(job.id).progress.get("step", 0) >= 1)
        process.send_signal(signal.SIGSTOP)
        heirs = []
        until(lambda: heirs.append(queue.claim("heir", lease_seconds=60)) or heirs[-1])
        queue.progress(heirs[-1], {"step": 0, "steps": 0})
        process.send_signal(signal.SIGCONT)
        assert process.wait(PATIENCE_SECONDS) == 3
    seen = queue.get(job.id)
    assert (seen.state, seen.lease_owner, seen.progress) == ("running", "heir", {"step": 0, "steps": 0})


def test_a_process_whose_lease_is_over_does_not_begin(registry: Registry, queue: Queue) -> None:
    job = queue.submit("count", {"steps": 1})
    lease = queue.claim("worker", lease_seconds=60)
    assert lease is not None
    queue.release(lease)
    custody = Custody(lease.token, "process", 60)
    assert run_leased(registry, {"count": "sample_jobs:count"}, job.id, custody=custody) == 3
    assert queue.get(job.id).state == "queued"


def test_a_job_can_be_run_right_here_under_a_lease_of_its_own(
    registry: Registry, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(FUNCTIONS))
    before = signal.getsignal(signal.SIGTERM)
    jobs = [queue.submit("count", {"steps": 2}) for _ in range(2)]
    assert run_leased(registry, {"count": "sample_jobs:count"}, jobs[1].id) == 0
    assert [queue.get(job.id).state for job in jobs] == ["queued", "succeeded"]
    with pytest.raises(NotClaimable, match=r"job 2 is succeeded; only a queued job"):
        run_leased(registry, {"count": "sample_jobs:count"}, jobs[1].id)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_a_worker_says_of_the_lease_is_read_as_it_was_written() -> None:
    custody = Custody(7, "tau-0:a-1", 12.5)
    assert Custody.from_text(custody.to_text()) == custody
    with pytest.raises(NotClaimable, match="expected token:seconds:keeper"):
        Custody.from_text("seven")

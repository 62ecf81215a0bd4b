"""Progress reaches the queue seldom, metrics at the same steps however often a job is interrupted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from distill_jobs.progress import Progress
from distill_jobs.reporting import METRICS_PER_JOB, ProgressReport
from registry import LeaseLost, Registry
from registry.jobs import Lease, Queue, Wanted


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with Registry.open(tmp_path / "home", actor="tester") as registry:
        yield Queue(registry)


@pytest.fixture
def lease(queue: Queue) -> Lease:
    queue.submit("count", {})
    lease = queue.claim("worker")
    assert lease is not None
    return lease


def test_a_long_job_leaves_at_most_500_means_of_its_loss(queue: Queue, lease: Lease) -> None:
    lines: list[str] = []
    report = ProgressReport(queue, lease, lines.append)
    steps = 4 * METRICS_PER_JOB
    for step in range(1, 13):
        report(_progress(step, steps, loss=float(step)))
    metrics = queue.metrics(lease.job.id, "loss")
    assert [(m.step, m.value) for m in metrics] == [(4, 2.5), (8, 6.5), (12, 10.5)]
    assert lines[0] == f"step 4/{steps} loss 2.500000 eta 7 s"


def test_the_last_step_is_always_written(queue: Queue, lease: Lease) -> None:
    report = ProgressReport(queue, lease, lambda line: None)
    report(_progress(1, 3))
    report(_progress(2, 3))
    assert queue.get(lease.job.id).progress["step"] == 1
    report(_progress(3, 3))
    assert queue.get(lease.job.id).progress["step"] == 3


def test_measured_numbers_become_metrics_of_their_step(queue: Queue, lease: Lease) -> None:
    lines: list[str] = []
    report = ProgressReport(queue, lease, lines.append)
    report(Progress(2, 4, 1.0, 1e-3, 0.0, metrics={"loss/online": 0.5, "loss/cached": 0.25}))
    kept = {name: queue.metrics(lease.job.id, name) for name in ("loss/online", "loss/cached")}
    assert {name: [(m.step, m.value) for m in rows] for name, rows in kept.items()} == {
        "loss/online": [(2, 0.5)],
        "loss/cached": [(2, 0.25)],
    }
    assert "step 2/4 loss/online 0.500000" in lines


def test_a_strip_is_written_at_once_and_stays(queue: Queue, lease: Lease, tmp_path: Path) -> None:
    report = ProgressReport(queue, lease, lambda line: None)
    report(_progress(1, 3))
    report(_progress(2, 3, strip=tmp_path / "strip.png"))
    assert queue.get(lease.job.id).progress["strip"] == str(tmp_path / "strip.png")
    report(_progress(3, 3))
    assert queue.get(lease.job.id).progress["strip"] == str(tmp_path / "strip.png")


def test_what_is_wanted_comes_back_with_a_write(queue: Queue, lease: Lease) -> None:
    report = ProgressReport(queue, lease, lambda line: None)
    assert report.wanted == Wanted.RUN
    queue.pause(lease.job.id)
    report(_progress(1, 1))
    assert report.wanted == Wanted.PAUSE


def test_a_report_under_a_lost_lease_is_refused(queue: Queue, lease: Lease) -> None:
    queue.release(lease)
    with pytest.raises(LeaseLost):
        ProgressReport(queue, lease, lambda line: None)(_progress(1, 1))


def _progress(step: int, steps: int, *, loss: float = 1.0, strip: Path | None = None) -> Progress:
    return Progress(step, steps, loss, 1e-3, 7.0, strip)

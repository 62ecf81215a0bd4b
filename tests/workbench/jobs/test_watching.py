"""What a person watches of a job."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry import Conflict, Registry
from registry.errors import IllegalTransition
from registry.jobs import Metric
from workbench.jobs.queueing import queue_of
from workbench.jobs.watching import ask, curves, log_tail, samples, wishes

NOW = datetime.now(UTC)


def test_measures_of_several_solvers_are_one_curve_and_the_loss_comes_first() -> None:
    found = curves(
        [
            Metric(2, "eval/tcd-4/endpoint_error", 0.2, NOW),
            Metric(1, "eval/tcd-4/endpoint_error", 0.4, NOW),
            Metric(2, "lcm-4/endpoint_error", 0.3, NOW),
            Metric(1, "loss", 0.5, NOW),
        ]
    )
    assert [curve.measure for curve in found] == ["loss", "endpoint_error"]
    assert found[0].series == {"loss": ((1, 0.5),)}
    assert found[1].series == {"tcd-4": ((1, 0.4), (2, 0.2)), "lcm-4": ((2, 0.3),)}


@pytest.mark.parametrize("wish", ["pause", "resume", "cancel", "retry"])
def test_what_is_offered_can_be_asked_and_what_is_not_is_refused_or_changes_nothing(
    registry: Registry, wish: str
) -> None:
    queue = queue_of(registry)
    for bring in (("pause",), ("cancel",), ()):
        job = queue.submit("style", {"name": "-".join((wish, *bring))})
        for step in bring:
            job = ask(registry, job.id, step)
        if wish in wishes(job):
            assert ask(registry, job.id, wish).state != job.state
        else:
            try:
                assert ask(registry, job.id, wish).state == job.state
            except (Conflict, IllegalTransition):
                assert queue.get(job.id) == job


def test_a_job_that_is_being_cancelled_can_be_asked_nothing_more(registry: Registry) -> None:
    queue = queue_of(registry)
    job = queue.submit("style", {})
    queue.claim("studio")
    assert wishes(ask(registry, job.id, "pause")) == ("resume", "cancel")
    assert wishes(ask(registry, job.id, "cancel")) == ()


def test_samples_come_in_the_order_of_their_steps(registry: Registry) -> None:
    folder = registry.home / "jobs" / "7" / "strips"
    folder.mkdir(parents=True)
    for name in ("00000100.png", "00000050.png", "partial-strip.png"):
        (folder / name).touch()
    assert [sample.step for sample in samples(registry, 7)] == [50, 100]
    assert samples(registry, 8) == ()


def test_the_tail_of_a_log_ends_where_the_next_piece_begins(registry: Registry, tmp_path: Path) -> None:
    queue = queue_of(registry)
    job = queue.submit("style", {})
    assert log_tail(registry, job.id).text == ""
    lease = queue.claim("studio")
    assert lease is not None
    log = tmp_path / "job.log"
    log.write_text("0123456789", encoding="utf-8")
    queue.attach_log(lease, str(log))
    piece = log_tail(registry, job.id, limit=4)
    assert (piece.text, piece.next_offset) == ("6789", 10)

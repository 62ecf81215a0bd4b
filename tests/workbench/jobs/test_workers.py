"""Workers on this machine."""

import os
import signal
import time

import pytest

from registry import Registry
from workbench.errors import JobUnfinished, WaitTimedOut
from workbench.jobs.queueing import log_text, queue_of, wait
from workbench.jobs.workers import (
    BATCH,
    INTERACTIVE,
    ensure_painter,
    ensure_worker,
    is_worker_alive,
    run_worker,
    staffed,
)


def test_without_jobs_a_worker_that_runs_until_idle_ends_at_once(registry: Registry) -> None:
    assert not is_worker_alive(registry.home)
    run_worker(registry, until_idle=True)
    assert not is_worker_alive(registry.home)


def test_a_background_worker_runs_what_is_queued_and_goes(registry: Registry) -> None:
    job = queue_of(registry).submit("style", {"name": "nothing"})
    started = ensure_worker(registry)
    assert started is not None
    assert ensure_worker(registry) is None
    with pytest.raises(JobUnfinished, match=rf"lacks base, .*tau jobs retry {job.id}"):
        wait(registry, job)
    while is_worker_alive(registry.home):
        time.sleep(0.1)
    assert "InvalidSettings" in "".join(log_text(registry, job.id, follow=True))


def test_a_worker_tells_how_its_jobs_are_until_they_have_ended(registry: Registry) -> None:
    queue_of(registry).submit("style", {})
    states = []
    run_worker(registry, until_idle=True, on_job=lambda job: states.append(job.state))
    assert states[0] == "running"
    assert states[-1] == "failed"


def test_waiting_ends_with_the_timeout_or_when_the_job_is_put_aside(registry: Registry) -> None:
    queue = queue_of(registry)
    job = queue.submit("style", {})
    with pytest.raises(WaitTimedOut, match="goes on"):
        wait(registry, job, timeout=0)
    queue.pause(job.id)
    with pytest.raises(JobUnfinished, match=f"tau jobs resume {job.id}"):
        wait(registry, job)
    queue.cancel(job.id)
    with pytest.raises(JobUnfinished, match=f"tau jobs retry {job.id}"):
        wait(registry, job)


def test_a_lane_that_nobody_works_for_has_a_worker_inside_which_is_gone_afterwards(registry: Registry) -> None:
    job = queue_of(registry).submit("preview", {"recipe": "nothing"}, lane=INTERACTIVE)
    with staffed(registry) as started:
        assert set(started) == {BATCH, INTERACTIVE}
        with pytest.raises(JobUnfinished, match="the job's spec has"):
            wait(registry, job, timeout=60)
        assert ensure_painter(registry) is None
        with staffed(registry) as others:
            assert others == {}
        assert is_worker_alive(registry.home, INTERACTIVE)
    assert not is_worker_alive(registry.home, INTERACTIVE)
    assert not is_worker_alive(registry.home, BATCH)


def test_a_painter_in_the_background_stays_for_the_next_picture(registry: Registry) -> None:
    started = ensure_painter(registry)
    assert started is not None
    try:
        assert started.log.parent == registry.home
        job = queue_of(registry).submit("preview", {}, lane=INTERACTIVE)
        with pytest.raises(JobUnfinished):
            wait(registry, job, timeout=60)
        assert is_worker_alive(registry.home, INTERACTIVE)
    finally:
        os.kill(started.pid, signal.SIGTERM)
        while is_worker_alive(registry.home, INTERACTIVE):
            time.sleep(0.05)

import math

import pytest

from registry import Conflict, IllegalTransition, InvalidName, NotFound
from registry.jobs import JobState, Queue, Wanted

pytestmark = pytest.mark.both_databases


def test_a_job_goes_from_submission_to_its_result(queue: Queue) -> None:
    job = queue.submit("style", {"steps": 3, "base": "tiny"}, priority=2)
    assert (job.state, job.attempt, job.spec, job.submitted_by) == ("queued", 0, {"steps": 3, "base": "tiny"}, "ann")
    lease = queue.claim("worker")
    assert lease is not None
    assert (lease.job.id, lease.owner, lease.token, lease.job.attempt) == (job.id, "worker", 1, 1)
    assert lease.until > lease.job.run_at
    queue.progress(lease, {"step": 1, "steps": 3})
    queue.attach_log(lease, "jobs/1/log.txt")
    done = queue.finish(lease, {"version": "papercut:1"})
    assert (done.state, done.result, done.lease_until) == ("succeeded", {"version": "papercut:1"}, None)
    assert (done.progress, done.log_path) == ({"step": 1, "steps": 3}, "jobs/1/log.txt")
    assert done.finished_at is not None
    assert [event.action for event in queue.events(job.id)] == ["submitted", "claimed", "finished"]


def test_an_empty_queue_gives_nothing(queue: Queue) -> None:
    assert queue.claim("worker") is None


def test_the_highest_priority_goes_first_and_the_oldest_within_it(queue: Queue) -> None:
    jobs = [queue.submit("x", {"n": n}, priority=priority).id for n, priority in enumerate((0, 5, 0, 5))]
    claimed = []
    while lease := queue.claim("worker"):
        claimed.append(lease.job.id)
    assert claimed == [jobs[1], jobs[3], jobs[0], jobs[2]]


def test_a_worker_takes_from_its_own_lanes_alone(queue: Queue) -> None:
    queue.submit("x", {}, lane="interactive")
    assert queue.claim("worker", lanes=["batch"]) is None
    assert queue.claim("painter", lanes=["interactive", "batch"]) is not None


def test_a_key_stands_for_one_unfinished_job(queue: Queue) -> None:
    first = queue.submit("x", {"a": 1}, idempotency_key="k")
    assert queue.submit("x", {"a": 1}, idempotency_key="k").id == first.id
    with pytest.raises(Conflict, match="has key 'k' and another spec"):
        queue.submit("x", {"a": 2}, idempotency_key="k")
    queue.cancel(first.id)
    second = queue.submit("x", {"a": 2}, idempotency_key="k")
    assert second.id != first.id
    with pytest.raises(Conflict, match="has the same key"):
        queue.retry(first.id)


def test_what_is_wanted_reaches_the_worker_with_its_heartbeat(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None
    assert queue.renew(lease) == Wanted.RUN
    assert queue.cancel(job.id).state == JobState.RUNNING
    assert queue.renew(lease, {"step": 2}) == Wanted.CANCEL
    assert queue.progress(lease, {"step": 3}) == Wanted.CANCEL
    assert queue.release(lease).state == JobState.CANCELLED


def test_a_heartbeat_prolongs_the_lease_by_the_databases_clock(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker", lease_seconds=5)
    assert lease is not None
    queue.renew(lease, lease_seconds=500)
    until = queue.get(job.id).lease_until
    assert until is not None
    assert 400 < (until - lease.until).total_seconds() < 600


def test_metrics_are_kept_by_step_and_a_repeated_step_overwrites(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None
    for step, value in ((1, 0.9), (2, 0.5), (2, 0.4), (10, 0.1)):
        queue.metric(lease, step, "loss", value)
    queue.metric(lease, 1, "rate", 1e-3)
    assert [(metric.step, metric.value) for metric in queue.metrics(job.id, "loss")] == [(1, 0.9), (2, 0.4), (10, 0.1)]
    assert [metric.step for metric in queue.metrics(job.id, "loss", after_step=2)] == [10]
    assert {metric.name for metric in queue.metrics(job.id)} == {"loss", "rate"}


def test_many_metrics_are_written_together_or_not_at_all(queue: Queue) -> None:
    job = queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None
    queue.metric(lease, 3, "loss", 9.0)
    queue.write_metrics(
        lease, [*((step, "loss", 1 / step) for step in range(1, 501)), (1, "rate", 1.0), (1, "rate", 2.0)]
    )
    assert [(m.step, m.value) for m in queue.metrics(job.id, "loss")] == [(step, 1 / step) for step in range(1, 501)]
    assert [m.value for m in queue.metrics(job.id, "rate")] == [2.0]
    assert len({m.at for m in queue.metrics(job.id)}) >= 1
    with pytest.raises(InvalidName, match="metric accuracy at step 2: nan is not finite"):
        queue.write_metrics(lease, [(1, "accuracy", 0.5), (2, "accuracy", math.nan)])
    assert queue.metrics(job.id, "accuracy") == ()


def test_a_job_is_found_by_the_name_that_another_system_gave_it(queue: Queue) -> None:
    for _ in range(2):
        queue.submit("x", {})
    first, second = queue.claim("one"), queue.claim("two")
    assert first is not None
    assert second is not None
    queue.attach_external(first, "tau-1-1")
    assert queue.by_external("tau-1-1").id == first.job.id
    assert queue.fail(first, "no", delay_seconds=0).external_id == "tau-1-1"
    queue.attach_external(second, "tau-1-1")
    assert queue.by_external("tau-1-1").id == second.job.id
    queue.attach_external(second, "tau-2-1")
    assert (queue.by_external("tau-2-1").id, queue.by_external("tau-1-1").id) == (second.job.id, first.job.id)
    with pytest.raises(NotFound, match="no job has external id 'tau-9-9'"):
        queue.by_external("tau-9-9")


def test_a_job_is_moved_in_its_line_until_it_has_ended(queue: Queue) -> None:
    first, second = queue.submit("x", {"n": 1}), queue.submit("x", {"n": 2})
    assert queue.prioritise(second.id, 5).priority == 5
    assert queue.prioritise(second.id, 5).priority == 5
    lease = queue.claim("worker")
    assert lease is not None
    assert lease.job.id == second.id
    assert [(event.action, event.detail) for event in queue.events(second.id)][1] == (
        "prioritised",
        {"before": 0, "after": 5},
    )
    assert len(queue.events(second.id)) == 3
    queue.cancel(first.id)
    with pytest.raises(IllegalTransition, match=f"job {first.id} is cancelled: only a job that has not ended"):
        queue.prioritise(first.id, 1)
    with pytest.raises(InvalidName, match="priority"):
        queue.prioritise(second.id, 2**40)


def test_everything_that_waits_is_cancelled_at_once_by_kind_and_lane(queue: Queue) -> None:
    running = queue.submit("a", {})
    assert queue.claim("worker") is not None
    paused = queue.pause(queue.submit("a", {}).id)
    mine = [queue.submit("a", {"n": n}) for n in range(3)]
    other, interactive = queue.submit("b", {}), queue.submit("a", {}, lane="interactive")
    cancelled = queue.cancel_pending(kind="a", lane="batch")
    assert [(job.id, job.state) for job in cancelled] == [(job.id, "cancelled") for job in mine]
    assert all(job.finished_at is not None for job in cancelled)
    assert [event.action for event in queue.events(mine[0].id)] == ["submitted", "cancelled"]
    assert [queue.get(job.id).state for job in (running, paused, other)] == ["running", "paused", "queued"]
    assert [job.id for job in queue.cancel_pending(kind="b")] == [other.id]
    assert [job.id for job in queue.cancel_pending()] == [interactive.id]
    assert queue.cancel_pending() == []


def test_jobs_are_counted_as_they_are_listed(queue: Queue) -> None:
    for number in range(3):
        queue.submit("a" if number else "b", {}, lane="batch" if number else "interactive")
    assert (queue.count(), queue.count(kind="a"), queue.count(lane="interactive")) == (3, 2, 1)
    assert [job.kind for job in queue.list(lane="interactive")] == ["b"]
    assert (queue.count(state="queued"), queue.count(state="dead")) == (3, 0)
    with pytest.raises(InvalidName, match="expected one of queued"):
        queue.count(state="lost")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_no_number_is_refused(queue: Queue, value: float) -> None:
    queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None
    with pytest.raises(InvalidName, match="is not finite"):
        queue.metric(lease, 1, "loss", value)


def test_jobs_are_listed_newest_first_by_state_and_kind_in_pages(queue: Queue) -> None:
    jobs = [queue.submit(kind, {}).id for kind in ("a", "b", "a")]
    queue.cancel(jobs[0])
    assert [job.id for job in queue.list()] == jobs[::-1]
    assert [job.id for job in queue.list(kind="a")] == [jobs[2], jobs[0]]
    assert [job.id for job in queue.list(state="cancelled")] == [jobs[0]]
    assert [job.id for job in queue.list(limit=1, after=jobs[2])] == [jobs[1]]
    with pytest.raises(InvalidName, match="expected one of queued"):
        queue.list(state="lost")


def test_what_cannot_be_submitted_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidName, match="expected one of batch, interactive"):
        queue.submit("x", {}, lane="fast")
    with pytest.raises(InvalidName, match="expected 1 or more"):
        queue.submit("x", {}, max_attempts=0)
    for spec in ({"a": object()}, {"a": math.nan}):
        with pytest.raises(InvalidName, match="Use numbers, texts, lists and objects"):
            queue.submit("x", spec)


def test_an_unknown_job_is_not_found(queue: Queue) -> None:
    for ask in (queue.get, queue.cancel, queue.pause, queue.resume, queue.retry, queue.events, queue.metrics):
        with pytest.raises(NotFound, match="no job has number 7"):
            ask(7)

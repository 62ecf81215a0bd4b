"""The table of legal moves, tried against the real queue and against the database itself."""

from collections.abc import Callable
from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import IllegalTransition, LeaseLost, Registry
from registry.jobs import JobState, Lease, Queue
from registry.states import LEGAL_JOB_STATES

pytestmark = pytest.mark.both_databases

LEGAL = {
    ("queued", "running"),
    ("queued", "paused"),
    ("queued", "cancelled"),
    ("running", "queued"),
    ("running", "paused"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("running", "dead"),
    ("paused", "queued"),
    ("paused", "cancelled"),
    ("failed", "queued"),
    ("cancelled", "queued"),
    ("dead", "queued"),
}


def _claim(queue: Queue) -> Lease:
    lease = queue.claim("worker")
    assert lease is not None
    return lease


def _die(queue: Queue, job: int) -> None:
    queue.fail(_claim(queue), "no", delay_seconds=0)


REACH: dict[JobState, Callable[[Queue, int], object]] = {
    JobState.QUEUED: lambda queue, job: None,
    JobState.RUNNING: lambda queue, job: _claim(queue),
    JobState.PAUSED: lambda queue, job: queue.pause(job),
    JobState.SUCCEEDED: lambda queue, job: queue.finish(_claim(queue), {}),
    JobState.FAILED: lambda queue, job: queue.fail(_claim(queue), "no", retry=False),
    JobState.CANCELLED: lambda queue, job: queue.cancel(job),
    JobState.DEAD: _die,
}

WISHES = {
    ("cancel", "queued"): "cancelled",
    ("cancel", "running"): "running",
    ("cancel", "paused"): "cancelled",
    ("cancel", "cancelled"): "cancelled",
    ("pause", "queued"): "paused",
    ("pause", "running"): "running",
    ("pause", "paused"): "paused",
    ("resume", "paused"): "queued",
    ("retry", "failed"): "queued",
    ("retry", "cancelled"): "queued",
    ("retry", "dead"): "queued",
}
"""(wish, state) -> the state after it; every other pair is refused."""


def test_the_table_is_the_one_that_was_agreed() -> None:
    assert {(str(before), str(after)) for before, states in LEGAL_JOB_STATES.items() for after in states} == LEGAL


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("wish", ["cancel", "pause", "resume", "retry"])
def test_every_wish_is_granted_or_refused_by_the_table(queue: Queue, wish: str, state: JobState) -> None:
    job = queue.submit("x", {}, max_attempts=1).id
    REACH[state](queue, job)
    assert queue.get(job).state == state
    after = WISHES.get((wish, str(state)))
    if after is not None:
        assert getattr(queue, wish)(job).state == after
        return
    events = queue.events(job)
    with pytest.raises(IllegalTransition, match=f"job {job} is {state}"):
        getattr(queue, wish)(job)
    assert (queue.get(job).state, queue.events(job)) == (state, events)


WORK: dict[str, Callable[[Queue, Lease], object]] = {
    "finish": lambda queue, lease: queue.finish(lease, {}),
    "fail": lambda queue, lease: queue.fail(lease, "no", delay_seconds=0),
    "give up": lambda queue, lease: queue.fail(lease, "no", retry=False),
    "release": lambda queue, lease: queue.release(lease),
}

ENDINGS = {
    ("finish", "run"): "succeeded",
    ("finish", "pause"): "succeeded",
    ("finish", "cancel"): "succeeded",
    ("fail", "run"): "queued",
    ("fail", "pause"): "paused",
    ("fail", "cancel"): "cancelled",
    ("give up", "run"): "failed",
    ("give up", "pause"): "failed",
    ("give up", "cancel"): "cancelled",
    ("release", "run"): "queued",
    ("release", "pause"): "paused",
    ("release", "cancel"): "cancelled",
}
"""(what the worker does, what is wanted) -> the state after it, where attempts are left."""


@pytest.mark.parametrize(("work", "wanted"), ENDINGS)
def test_a_worker_ends_its_attempt_by_the_table(queue: Queue, work: str, wanted: str) -> None:
    job = queue.submit("x", {}).id
    lease = _claim(queue)
    if wanted != "run":
        getattr(queue, wanted)(job)
    WORK[work](queue, lease)
    ended = queue.get(job)
    assert (ended.state, ended.wanted, ended.lease_until) == (ENDINGS[work, wanted], "run", None)
    assert ended.attempt == (0 if (work == "release" and wanted != "cancel") or ended.state == "paused" else 1)


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.RUNNING}))
@pytest.mark.parametrize("work", WORK)
def test_a_worker_ends_nothing_that_is_not_running(queue: Queue, work: str, state: JobState) -> None:
    job = queue.submit("x", {}, max_attempts=1).id
    REACH[state](queue, job)
    before = queue.get(job)
    with pytest.raises(LeaseLost, match=f"job {job}: lease {before.lease_token}"):
        WORK[work](queue, Lease(before, before.lease_token, "worker", before.created_at))
    assert queue.get(job) == before


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.QUEUED}))
def test_only_a_queued_job_is_claimed(queue: Queue, state: JobState) -> None:
    job = queue.submit("x", {}, max_attempts=1).id
    REACH[state](queue, job)
    assert queue.claim("worker") is None
    assert queue.claim_job(job, "worker") is None
    assert queue.get(job).state == state


def test_a_cancellation_is_not_turned_into_a_pause(queue: Queue) -> None:
    job = queue.submit("x", {}).id
    _claim(queue)
    queue.cancel(job)
    with pytest.raises(IllegalTransition, match="is being cancelled"):
        queue.pause(job)
    with pytest.raises(IllegalTransition, match="nothing to resume"):
        queue.resume(job)


def test_a_pause_that_was_not_obeyed_yet_can_be_taken_back(queue: Queue) -> None:
    job = queue.submit("x", {}).id
    lease = _claim(queue)
    queue.pause(job)
    queue.resume(job)
    assert queue.renew(lease) == "run"


def test_a_retried_job_has_all_its_attempts_again_and_its_old_token_is_void(queue: Queue) -> None:
    job = queue.submit("x", {}, max_attempts=1).id
    _die(queue, job)
    retried = queue.retry(job)
    assert (retried.attempt, retried.last_error, retried.finished_at) == (0, None, None)
    assert _claim(queue).token == 2


@pytest.mark.parametrize(("before", "after"), list(product(JobState, JobState)))
def test_the_database_itself_refuses_an_illegal_move(
    registry: Registry, queue: Queue, before: JobState, after: JobState
) -> None:
    job = queue.submit("x", {}, max_attempts=1).id
    REACH[before](queue, job)
    until = "'2999-01-01T00:00:00Z'" if after == "running" else "NULL"
    move = text(f"UPDATE job SET state = '{after}', lease_until = {until} WHERE id = {job}")
    with registry.database.writing() as uow:
        if before == after or (before, after) in LEGAL:
            uow.session.execute(move)
            return
        with pytest.raises(IntegrityError, match="cannot follow"):
            uow.session.execute(move)


def test_the_database_itself_refuses_running_without_a_lease(registry: Registry, queue: Queue) -> None:
    queue.submit("x", {})
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match="runs_under_a_lease"):
        uow.session.execute(text("UPDATE job SET state = 'running'"))


@pytest.mark.parametrize("statement", ["UPDATE job_event SET actor = 'eve'", "DELETE FROM job_event"])
def test_a_jobs_history_is_append_only(registry: Registry, queue: Queue, statement: str) -> None:
    queue.submit("x", {})
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match="append-only"):
        uow.session.execute(text(statement))

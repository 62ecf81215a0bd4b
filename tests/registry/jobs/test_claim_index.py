"""Claiming walks along the partial index, in its order, however many jobs are done or of other lanes."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.engine import Connection

from registry import Registry
from registry.dialect import now
from registry.jobs import Lane, Offers, Queue
from registry.tables import JobRow

pytestmark = pytest.mark.both_databases

DONE, WAITING = 3_000, 40
CROWD = 1_500
"""So many waiting jobs that PostgreSQL would rather walk than sort them."""


@pytest.fixture
def full_queue(registry: Registry, queue: Queue) -> Queue:
    """Thousands of jobs that are done, and dozens that wait in either lane."""
    return filled(registry, queue, WAITING)


def filled(registry: Registry, queue: Queue, waiting: int) -> Queue:
    """The queue with thousands of jobs that are done, and `waiting` in either lane."""
    common = {"kind": "x", "spec": {}, "spec_sha256": "ab" * 32, "wanted": "run", "attempt": 0, "max_attempts": 3}
    common |= {"lease_token": 0, "progress": {}, "submitted_by": "ann", "run_at": now()}
    numbers = range(DONE + 2 * waiting)
    rows = [
        common
        | {
            "priority": number % 7,
            "state": "succeeded" if number < DONE else "queued",
            "lane": "batch" if number % 2 else "interactive",
        }
        for number in numbers
    ]
    with registry.database.writing() as uow:
        for row in rows:
            row.pop("run_at")
        uow.session.execute(insert(JobRow).values(run_at=now()), rows)
        uow.session.execute(text("ANALYZE"))
        uow.commit()
    return queue


def _selects(registry: Registry, act: Callable[[], object]) -> list[tuple[str, Any]]:
    """The statements with which `act` looks for jobs, and their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_: Connection, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.startswith("SELECT") and "FROM job" in statement:
            seen.append((statement, parameters))

    event.listen(registry.database.engine, "before_cursor_execute", note)
    act()
    event.remove(registry.database.engine, "before_cursor_execute", note)
    return seen


def _plan(registry: Registry, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN " if registry.database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    with registry.database.writing() as uow:
        rows = uow.session.connection().exec_driver_sql(explain + statement, parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("lanes", [(Lane.BATCH,), (Lane.BATCH, Lane.INTERACTIVE)])
def test_a_claim_walks_along_the_index_of_claimable_jobs_and_sorts_nothing(
    registry: Registry, queue: Queue, lanes: Sequence[str]
) -> None:
    crowded = filled(registry, queue, CROWD)
    selects = _selects(registry, lambda: crowded.claim("worker", lanes, offers=Offers(1, 2**30)))
    assert len(selects) == (1 if len(lanes) == 1 else 3)
    for statement, parameters in selects:
        plan = _plan(registry, statement, parameters)
        assert "ix_job_claimable" in plan
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan


def test_several_lanes_are_served_as_one_line(full_queue: Queue) -> None:
    jobs = []
    while lease := full_queue.claim("worker", (Lane.INTERACTIVE, Lane.BATCH)):
        jobs.append(lease.job)
    assert len(jobs) == 2 * WAITING
    assert jobs == sorted(jobs, key=lambda job: (-job.priority, job.run_at, job.id))


def test_the_line_shows_the_order_in_which_jobs_will_be_claimed(queue: Queue) -> None:
    for priority in (0, 3, 0, 3):
        queue.submit("x", {}, priority=priority)
    shown = [job.id for job in queue.line()]
    claimed = []
    while lease := queue.claim("worker"):
        claimed.append(lease.job.id)
    assert (shown, queue.line()) == (claimed, ())

"""The end of a job, written inside a unit that holds its lease."""

from typing import Any

from registry.dialect import now
from registry.jobs.moves import move
from registry.states import JobState
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def finish_held(uow: UnitOfWork, job: JobRow, result: dict[str, Any]) -> None:
    """Record that a held job has succeeded, with what came out of it."""
    job.result = result
    job.last_error = None
    job.finished_at = now()
    move(uow, job, JobState.SUCCEEDED, "finished", result=result)

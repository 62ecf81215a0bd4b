"""What the queue hands out: a job as it is, and the right to work on it for a while."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Job:
    """One piece of work."""

    id: int
    kind: str
    lane: str
    spec: dict[str, Any]
    idempotency_key: str | None
    state: str
    wanted: str
    priority: int
    attempt: int
    max_attempts: int
    needs_gpu: int
    needs_memory: int
    lease_owner: str | None
    lease_until: datetime | None
    lease_token: int
    external_id: str | None
    progress: dict[str, Any]
    result: dict[str, Any] | None
    last_error: str | None
    log_path: str | None
    submitted_by: str
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ref(self) -> str:
        """How an edge names it."""
        return f"job:{self.id}"


@dataclass(frozen=True)
class Lease:
    """The right of `owner` to work on `job` until `until`; `token` proves it with every write."""

    job: Job
    token: int
    owner: str
    until: datetime


@dataclass(frozen=True)
class JobEvent:
    """One line of a job's history."""

    at: datetime
    actor: str
    action: str
    attempt: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """One number at one step."""

    step: int
    name: str
    value: float
    at: datetime

"""The queue: jobs, what happened to them, and what they measured."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, TextClause, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.dialect import Instant
from registry.states import UNFINISHED, JobState, Lane, Wanted
from registry.tables.columns import (
    Base,
    Count,
    Created,
    Digest,
    JsonObject,
    Key,
    Moment,
    big_integer,
    is_digest,
    is_one_of,
    json_object,
)


def _state_in(*states: str) -> TextClause:
    return text(f"state IN ({', '.join(repr(str(state)) for state in states)})")


CLAIMABLE = _state_in(JobState.QUEUED, JobState.RUNNING)
"""The rows of the index that claiming walks along; a query that is to use it says these very words."""

ATTACHED = text("external_id IS NOT NULL")


class JobRow(Base):
    """One piece of work, who holds it, and until when."""

    __tablename__ = "job"
    __table_args__ = (
        is_one_of("state", list(JobState)),
        is_one_of("wanted", list(Wanted)),
        is_one_of("lane", list(Lane)),
        is_digest("spec_sha256"),
        CheckConstraint("attempt BETWEEN 0 AND max_attempts", name="attempts_are_bounded"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="runs_under_a_lease"),
        CheckConstraint("needs_gpu >= 0", name="needs_gpu_is_not_negative"),
        CheckConstraint("needs_memory >= 0", name="needs_memory_is_not_negative"),
        Index(
            "uq_job_idempotency_key",
            "idempotency_key",
            unique=True,
            sqlite_where=_state_in(*UNFINISHED),
            postgresql_where=_state_in(*UNFINISHED),
        ),
        Index("ix_job_external_id", "external_id", sqlite_where=ATTACHED, postgresql_where=ATTACHED),
    )

    id: Mapped[Key]
    kind: Mapped[str] = mapped_column(String(64), index=True)
    lane: Mapped[str] = mapped_column(String(16))
    spec: Mapped[JsonObject]
    spec_sha256: Mapped[Digest]
    idempotency_key: Mapped[str | None]
    state: Mapped[str] = mapped_column(String(16), index=True)
    wanted: Mapped[str] = mapped_column(String(16))
    priority: Mapped[int]
    run_at: Mapped[Moment]
    attempt: Mapped[int]
    max_attempts: Mapped[int]
    needs_gpu: Mapped[int] = mapped_column(server_default=text("0"))
    needs_memory: Mapped[int] = mapped_column(big_integer, server_default=text("0"))
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    lease_token: Mapped[Count]
    external_id: Mapped[str | None]
    progress: Mapped[JsonObject]
    result: Mapped[dict[str, Any] | None] = mapped_column(json_object)
    last_error: Mapped[str | None]
    log_path: Mapped[str | None]
    submitted_by: Mapped[str]
    created_at: Mapped[Created]
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)


IN_ORDER = (JobRow.priority.desc(), JobRow.run_at, JobRow.id)
"""The oldest of the highest priority first."""

Index("ix_job_claimable", JobRow.lane, *IN_ORDER, sqlite_where=CLAIMABLE, postgresql_where=CLAIMABLE)


class JobEventRow(Base):
    """One line of a job's history; append-only."""

    __tablename__ = "job_event"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[Key]
    job_id: Mapped[int] = mapped_column(big_integer, ForeignKey("job.id"))
    at: Mapped[Created]
    actor: Mapped[str]
    action: Mapped[str] = mapped_column(String(32))
    attempt: Mapped[int]
    detail: Mapped[JsonObject]


class MetricRow(Base):
    """One number of a job at one step; a repeated step overwrites it."""

    __tablename__ = "metric"

    job_id: Mapped[int] = mapped_column(big_integer, ForeignKey("job.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    step: Mapped[int] = mapped_column(big_integer, primary_key=True)
    value: Mapped[float]
    at: Mapped[Created]

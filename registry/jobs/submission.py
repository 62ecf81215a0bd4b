"""Submitting: one unfinished job for each idempotency key."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from registry.dialect import now
from registry.errors import Conflict, InvalidName
from registry.jobs.moves import note
from registry.jobs.needs import require_needs, require_priority
from registry.states import UNFINISHED, JobState, Lane, Wanted
from registry.tables import JobRow
from registry.unit_of_work import UnitOfWork


def submit(
    uow: UnitOfWork,
    kind: str,
    spec: Mapping[str, Any],
    *,
    lane: str,
    priority: int,
    idempotency_key: str | None,
    max_attempts: int,
    needs_gpu: int,
    needs_memory: int,
) -> JobRow:
    """Queue a job; with a key that an unfinished job has, that job, if it is to do the same."""
    if lane not in set(Lane):
        raise InvalidName(f"lane {lane!r}: expected one of {', '.join(Lane)}.")
    if max_attempts < 1:
        raise InvalidName(f"max_attempts {max_attempts}: expected 1 or more.")
    require_priority(priority)
    require_needs(needs_gpu, needs_memory)
    plain, sha256 = canonical_spec(kind, spec)
    if (twin := _unfinished(uow, idempotency_key)) is not None:
        if twin.spec_sha256 == sha256:
            return twin
        raise Conflict(f"job {twin.id} has key {idempotency_key!r} and another spec. Wait for it, or cancel it first.")
    row = JobRow(
        kind=kind,
        lane=lane,
        spec=plain,
        spec_sha256=sha256,
        idempotency_key=idempotency_key,
        state=JobState.QUEUED,
        wanted=Wanted.RUN,
        priority=priority,
        run_at=now(),
        attempt=0,
        max_attempts=max_attempts,
        needs_gpu=needs_gpu,
        needs_memory=needs_memory,
        lease_token=0,
        progress={},
        submitted_by=uow.actor,
    )
    uow.session.add(row)
    uow.session.flush()
    note(uow, row, "submitted")
    return row


def canonical_spec(kind: str, spec: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """A spec as plain JSON, and the sha256 of it and its kind. Raises InvalidName for what JSON cannot hold."""
    try:
        text = json.dumps(dict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidName(f"spec of a {kind} job: {error}. Use numbers, texts, lists and objects only.") from error
    plain: dict[str, Any] = json.loads(text)
    return plain, hashlib.sha256(f"{kind}\n{text}".encode()).hexdigest()


def _unfinished(uow: UnitOfWork, key: str | None) -> JobRow | None:
    if key is None:
        return None
    return uow.session.scalar(select(JobRow).where(JobRow.idempotency_key == key, JobRow.state.in_(UNFINISHED)))

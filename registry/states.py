"""The states of versions and jobs, and which state may follow which."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from registry.errors import IllegalTransition


class State(StrEnum):
    """Where a version is in its life."""

    DRAFT = "draft"  # usable; a bare name means it only while nothing is published
    PUBLISHED = "published"  # frozen, and what a bare name means
    DEPRECATED = "deprecated"  # still resolvable, no longer what a bare name means
    ARCHIVED = "archived"  # only by number, alias or digest; hidden from search


class BlobState(StrEnum):
    """Whether a blob's bytes can be counted on."""

    PRESENT = "present"
    DELETING = "deleting"  # garbage collection is about to take the bytes away


class LocationMode(StrEnum):
    """What a path has to do with a blob."""

    STORED = "stored"  # ours, under the blob store
    IN_PLACE = "in-place"  # the only copy, kept by its owner; verified before use
    SOURCE = "source"  # the bytes were imported from there


class OriginKind(StrEnum):
    """Where a version's bytes came from."""

    FILE = "file"
    HUB = "hub"
    URL = "url"
    CIVITAI = "civitai"
    INVOKEAI = "invokeai"
    JOB = "job"
    RECIPE = "recipe"
    UPLOAD = "upload"


class LookupStatus(StrEnum):
    """What came of asking an outside service."""

    FOUND = "found"
    MISSING = "missing"  # it does not know the bytes
    FAILED = "failed"  # it gave no answer


class Role(StrEnum):
    """What a principal may do."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


class JobState(StrEnum):
    """Where a job is; leased work always reads `running`, whatever is wanted of it."""

    QUEUED = "queued"  # waits for a worker, or for its run_at
    RUNNING = "running"  # a worker holds a lease on it
    PAUSED = "paused"  # stopped on request; resume queues it again
    SUCCEEDED = "succeeded"  # finished, its result is recorded
    FAILED = "failed"  # gave up by its own word; retry queues it again
    CANCELLED = "cancelled"  # stopped on request, for good unless retried
    DEAD = "dead"  # used up its attempts


class Wanted(StrEnum):
    """What somebody wants of a running job; a heartbeat brings it to the worker."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class Lane(StrEnum):
    """Who runs it: a subprocess a job, or the resident painter."""

    BATCH = "batch"
    INTERACTIVE = "interactive"


S = TypeVar("S", bound=StrEnum)

UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)

LEGAL_VERSION_STATES: Mapping[State, frozenset[State]] = {
    State.DRAFT: frozenset({State.PUBLISHED, State.ARCHIVED}),
    State.PUBLISHED: frozenset({State.DEPRECATED, State.ARCHIVED}),
    State.DEPRECATED: frozenset({State.PUBLISHED, State.ARCHIVED}),
    State.ARCHIVED: frozenset({State.PUBLISHED}),
}

LEGAL_JOB_STATES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.PAUSED, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(set(JobState) - {JobState.RUNNING}),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.DEAD: frozenset({JobState.QUEUED}),
}


def require_legal(subject: str, before: S, after: S, legal: Mapping[S, frozenset[S]]) -> None:
    """Refuse a state that cannot follow the present one."""
    if after in legal[before]:
        return
    allowed = ", ".join(sorted(legal[before])) or "nothing"
    raise IllegalTransition(f"{subject} is {before} and cannot become {after}. What may follow {before}: {allowed}.")

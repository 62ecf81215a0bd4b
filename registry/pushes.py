"""Pushes: which commit of which repository holds a version, and what we put there."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from registry.history import record
from registry.references import require_model, resolve
from registry.tables import EventRow
from registry.unit_of_work import UnitOfWork

PUSHED = "pushed"


@dataclass(frozen=True)
class Push:
    """One push: `files` is what it left there, path in the repository -> the Hub's hash of it."""

    ref: str
    repo: str
    commit: str
    files: Mapping[str, str]
    at: datetime


def record_push(uow: UnitOfWork, ref: str, repo: str, commit: str, files: Mapping[str, str]) -> None:
    """Write an event about it; the same push of the same version, once more, changes nothing."""
    version = resolve(uow, ref)
    last = last_push(uow, version.model.slug, repo)
    if last and (last.ref, last.commit) == (f"{version.model.slug}:{version.number}", commit):
        return
    before = None if last is None else {"version": last.ref, "commit": last.commit}
    record(uow, PUSHED, version, before=before, after={"repo": repo, "commit": commit, "files": dict(files)})


def last_push(uow: UnitOfWork, model: str, repo: str | None = None) -> Push | None:
    """The newest push of any version of a model, to `repo` or to any repository."""
    own = (EventRow.model_id == require_model(uow, model).id, EventRow.action == PUSHED)
    for row in uow.session.scalars(select(EventRow).where(*own).order_by(EventRow.id.desc())):
        after: dict[str, Any] = row.after or {}
        if repo is None or after.get("repo") == repo:
            return Push(row.subject, after["repo"], after["commit"], after["files"], row.at)
    return None

"""Events: who did what to what, written in the transaction that did it."""

from typing import Any

from sqlalchemy import select

from registry.references import require_model
from registry.tables import EventRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Event


def record(
    uow: UnitOfWork,
    action: str,
    version: VersionRow,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write one event about a version."""
    subject = f"{version.model.slug}:{version.number}"
    uow.session.add(
        EventRow(
            actor=uow.actor,
            subject=subject,
            model_id=version.model_id,
            version_id=version.id,
            action=action,
            before=before,
            after=after,
        )
    )


def record_model(
    uow: UnitOfWork,
    action: str,
    model: ModelRow,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write one event about a model as a whole."""
    uow.session.add(
        EventRow(actor=uow.actor, subject=model.slug, model_id=model.id, action=action, before=before, after=after)
    )


def record_subject(
    uow: UnitOfWork,
    action: str,
    subject: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write one event about something that belongs to no model: a data set, a recipe."""
    uow.session.add(EventRow(actor=uow.actor, subject=subject, action=action, before=before, after=after))


def history(uow: UnitOfWork, model: str | None, *, limit: int, after: int | None = None) -> list[Event]:
    """The events of a model and its versions, or of everything, oldest first.

    `after` is the id of the last one seen. Raises NotFound.
    """
    query = select(EventRow).order_by(EventRow.id).limit(limit)
    if model is not None:
        query = query.where(EventRow.model_id == require_model(uow, model).id)
    if after is not None:
        query = query.where(EventRow.id > after)
    return [_event(row) for row in uow.session.scalars(query)]


def _event(row: EventRow) -> Event:
    return Event(row.at, row.actor, row.subject, row.action, row.before, row.after, row.id)

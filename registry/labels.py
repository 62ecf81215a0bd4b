"""Names and notes that people put on versions: aliases, tags, states."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from registry.dialect import now
from registry.errors import Conflict, InvalidName, InvalidReference, LicenseConflict, NotFound
from registry.history import record, record_model
from registry.license_report import report_of
from registry.names import require_slug
from registry.references import find_model, parse_reference, require_model, resolve
from registry.states import LEGAL_VERSION_STATES, State, require_legal
from registry.tables import AliasPeriodRow, EdgeRow, ModelRow, TagRow, VersionRow
from registry.tables.search import LONGEST_VALUE
from registry.unit_of_work import UnitOfWork

LONGEST_TAG = 128
LONGEST_TAG_VALUE = LONGEST_VALUE
"""Characters of a tag's key, and of its value: the search index knows a value whole."""


def rename(uow: UnitOfWork, model: str, name: str) -> None:
    """From now on the model is called `name`; its versions, history and lineage stay as they are. Raises Conflict."""
    row = require_model(uow, model)
    require_slug(name)
    if row.slug == name:
        return
    if find_model(uow, name) is not None:
        raise Conflict(f"{name!r} is another model. Choose another name, or rename that one first.")
    record_model(uow, "renamed", row, before={"name": row.slug}, after={"name": name})
    row.slug = name
    uow.session.flush()


def set_alias(uow: UnitOfWork, ref: str, name: str) -> VersionRow:
    """From now on `name` means this version; what it meant before stays on record."""
    version = resolve(uow, ref)
    require_slug(name, "alias")
    period = _open_period(uow, version.model, name)
    if period is not None and period.version_id == version.id:
        return version
    before = _close(uow, period)
    uow.session.add(AliasPeriodRow(model_id=version.model_id, version_id=version.id, name=name, since=now()))
    record(uow, "aliased", version, before=before, after={"alias": name, "number": version.number})
    return version


def drop_alias(uow: UnitOfWork, ref: str, name: str) -> VersionRow:
    """From now on `name` means nothing; dropping what is not set changes nothing."""
    version = resolve(uow, ref)
    period = _open_period(uow, version.model, name)
    if period is not None:
        record(uow, "unaliased", version, before=_close(uow, period))
    return version


def alias_at(uow: UnitOfWork, model: str, name: str, when: datetime) -> VersionRow | None:
    """The version that `name` meant at `when`, None where it meant nothing."""
    own = (AliasPeriodRow.model_id == require_model(uow, model).id, AliasPeriodRow.name == name)
    then = (AliasPeriodRow.since <= when, AliasPeriodRow.until.is_(None) | (AliasPeriodRow.until > when))
    join = select(VersionRow).join(AliasPeriodRow, AliasPeriodRow.version_id == VersionRow.id)
    return uow.session.scalar(join.where(*own, *then).order_by(AliasPeriodRow.id.desc()).limit(1))


def resolve_at(uow: UnitOfWork, text: str, when: datetime) -> VersionRow:
    """The version that NAME@ALIAS meant at `when`. Raises InvalidReference for other forms, and NotFound."""
    reference = parse_reference(text)
    if reference.alias is None:
        raise InvalidReference(f"reference {text!r} at a moment: expected NAME@ALIAS, such as {text}@production.")
    version = alias_at(uow, str(reference.model), reference.alias, when)
    if version is None:
        raise NotFound(
            f"{text} meant nothing at {when:%Y-%m-%d %H:%M}. `tau history {reference.model}` says since when it does."
        )
    return version


def set_tag(uow: UnitOfWork, ref: str, key: str, value: str) -> VersionRow:
    """Put `key` = `value` on a version, replacing the value that the key had."""
    if not key or key.strip() != key or len(key) > LONGEST_TAG:
        raise InvalidName(f"tag {key!r}: expected 1 to {LONGEST_TAG} characters, no space at either end.")
    if len(value) > LONGEST_TAG_VALUE:
        raise InvalidName(f"tag {key!r}: a value of {len(value)} characters, expected {LONGEST_TAG_VALUE} at most.")
    version = resolve(uow, ref)
    tag = uow.session.get(TagRow, (version.id, key))
    before = None if tag is None else {key: tag.value}
    if before == {key: value}:
        return version
    uow.session.merge(TagRow(version_id=version.id, key=key, value=value))
    record(uow, "tagged", version, before=before, after={key: value})
    return version


def drop_tag(uow: UnitOfWork, ref: str, key: str) -> VersionRow:
    """Take a tag off; taking off what is not there changes nothing."""
    version = resolve(uow, ref)
    tag = uow.session.get(TagRow, (version.id, key))
    if tag is not None:
        uow.session.delete(tag)
        record(uow, "untagged", version, before={key: tag.value})
    return version


def set_state(uow: UnitOfWork, ref: str, state: State) -> VersionRow:
    """Publish, deprecate or archive a version; being there already is no error."""
    version = resolve(uow, ref)
    move_version(uow, version, state)
    return version


def publish(uow: UnitOfWork, ref: str, despite: str | None = None) -> VersionRow:
    """Publish a version. Raises LicenseConflict, unless `despite` says why it is published all the same."""
    version = resolve(uow, ref)
    conflicts = report_of(uow, version).conflicts if version.state != State.PUBLISHED else ()
    if conflicts and not despite:
        name = f"{version.model.slug}:{version.number}"
        raise LicenseConflict(
            f"{name}: its licence contradicts what it was made from: {'; '.join(conflicts)}. Change the licence: "
            f"tau edit {name} --license ID, or publish it all the same and say why: tau publish {name} --despite REASON"
        )
    reasons = {"despite": despite, "conflicts": list(conflicts)} if conflicts else {}
    move_version(uow, version, State.PUBLISHED, reasons)
    return version


def publish_or_hold(uow: UnitOfWork, version: VersionRow) -> None:
    """Publish a new version, or where licences conflict keep it a draft, which is history and costs nobody's work."""
    came_from = select(EdgeRow.id).where(EdgeRow.child_id == version.id).limit(1)
    conflicts = report_of(uow, version).conflicts if uow.session.scalar(came_from) is not None else ()
    if conflicts:
        record(uow, "held", version, after={"conflicts": list(conflicts)})
    else:
        move_version(uow, version, State.PUBLISHED)


def move_version(uow: UnitOfWork, version: VersionRow, state: State, why: Mapping[str, Any] | None = None) -> None:
    """Give a version its next state; `why` stands in history. Raises IllegalTransition."""
    before = State(version.state)
    if before == state:
        return
    require_legal(f"{version.model.slug}:{version.number}", before, state, LEGAL_VERSION_STATES)
    version.state = state
    uow.session.flush()
    record(uow, str(state), version, before={"state": before}, after={"state": state, **(why or {})})


def _open_period(uow: UnitOfWork, model: ModelRow, name: str) -> AliasPeriodRow | None:
    own = (AliasPeriodRow.model_id == model.id, AliasPeriodRow.name == name)
    return uow.session.scalar(select(AliasPeriodRow).where(*own, AliasPeriodRow.until.is_(None)))


def _close(uow: UnitOfWork, period: AliasPeriodRow | None) -> dict[str, object] | None:
    if period is None:
        return None
    number = uow.session.scalars(select(VersionRow.number).where(VersionRow.id == period.version_id)).one()
    period.until = now()
    uow.session.flush()
    return {"alias": period.name, "number": number}

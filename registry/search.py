"""Search: versions by text, kind, family, tags and state, newest first, a page at a time by key."""

from collections.abc import Mapping, Sequence

from sqlalchemy import ColumnElement, Select, exists, or_, select

from registry.errors import InvalidName
from registry.references import offered_first
from registry.snapshots import snapshots
from registry.states import State
from registry.tables import AdapterFactsRow, ArchitectureRow, ModelRow, TagRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Kind, Version

LARGEST_PAGE = 1_000


def search(
    uow: UnitOfWork,
    text: str | None = None,
    *,
    kind: str | None = None,
    family: str | None = None,
    tags: Mapping[str, str] | None = None,
    state: str | None = None,
    limit: int = 50,
    after: int | None = None,
) -> list[Version]:
    """The versions that meet every condition; archived ones only where `state` says so.

    `text` is looked for in name, title and description; `*` stands for anything, and without one it may stand anywhere.
    `after` is the id of the last version of the page before.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidName(f"limit {limit}: expected 1 to {LARGEST_PAGE}. Ask for the next page with after=.")
    query = select(VersionRow.id).join(ModelRow).order_by(VersionRow.id.desc()).limit(limit)
    query = _in_state(query, state)
    if after is not None:
        query = query.where(VersionRow.id < after)
    if text:
        query = query.where(_mentions(text))
    if kind is not None:
        query = query.where(ModelRow.kind == require_known(kind, list(Kind), "kind"))
    if family is not None:
        query = query.join(AdapterFactsRow).where(AdapterFactsRow.family == family)
    for key, value in (tags or {}).items():
        own = TagRow.version_id == VersionRow.id
        query = query.where(exists().where(own, TagRow.key == key, TagRow.value == value))
    return snapshots(uow, uow.session.scalars(query).all())


def bases(uow: UnitOfWork, family: str) -> list[Version]:
    """The base that each model of that family offers by its bare name, oldest model first."""
    other = select(VersionRow.id).where(VersionRow.model_id == ModelRow.id, VersionRow.state != State.ARCHIVED)
    offered = other.order_by(offered_first(), VersionRow.number.desc()).limit(1).correlate(ModelRow).scalar_subquery()
    query = select(VersionRow.id).join(ModelRow).join(AdapterFactsRow).where(VersionRow.id == offered)
    query = query.where(ModelRow.kind == Kind.BASE, AdapterFactsRow.family == family).order_by(ModelRow.id)
    return snapshots(uow, uow.session.scalars(query).all())


def architecture_rows(uow: UnitOfWork) -> Sequence[ArchitectureRow]:
    """The module tables of imported bases."""
    return uow.session.scalars(select(ArchitectureRow).order_by(ArchitectureRow.id)).all()


def _in_state(query: Select[int], state: str | None) -> Select[int]:
    if state is None:
        return query.where(VersionRow.state != State.ARCHIVED)
    return query.where(VersionRow.state == require_known(state, list(State), "state"))


def _mentions(text: str) -> ColumnElement[bool]:
    """LIKE is case-insensitive for ASCII on SQLite; `ilike` makes it so everywhere."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = escaped.replace("*", "%") if "*" in text else f"%{escaped}%"
    columns = (ModelRow.slug, ModelRow.title, ModelRow.description)
    return or_(*(column.ilike(pattern, escape="\\") for column in columns))


def require_known(value: str, values: list[str], what: str) -> str:
    """`value` itself when it is one of `values`. Raises InvalidName otherwise."""
    if value not in values:
        raise InvalidName(f"{what} {value!r}: expected one of {', '.join(values)}.")
    return value

"""Edges that a person states, and takes back where they were wrong; what work has written stays as it is."""

from sqlalchemy import select

from formats.findings import UNKNOWN
from registry.database import Database
from registry.errors import Conflict, InvalidName, Refused
from registry.lineage import EXTERNAL, cut, edge_of, link
from registry.references import resolve
from registry.snapshots import snapshot
from registry.tables import AdapterFactsRow, EdgeRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Kind, Parent, Relation, Version

WRITTEN_BY_WORK = (Relation.COMPOSED_FROM, Relation.PRODUCED_BY)
STATED = tuple(relation for relation in Relation if relation not in WRITTEN_BY_WORK)
"""What a person may say; the others are written by compositions and jobs alone."""

TAKEN_BACK = (Relation.ADAPTER_OF,)
"""What may be taken back: to which base a vector belongs can be a guess, how something was made is a record."""


def connect(database: Database, child: str, parent: Parent, *, dry_run: bool = False) -> Version:
    """Record that `child` came from `parent` because somebody says so; saying it again changes nothing.

    Raises InvalidName, Refused where work alone writes that relation or the two cannot belong together, Conflict where
    the edge is there with another weight, LineageCycle, NotFound.
    """
    _require_stated(parent.relation)
    with database.writing() as uow:
        version = resolve(uow, child)
        if parent.relation == Relation.ADAPTER_OF:
            _require_belonging(uow, version, parent.parent)
        link(uow, version, parent)
        _require_weight(uow, version, parent)
        after = snapshot(uow, version)
        if not dry_run:
            uow.commit()
    return after


def disconnect(database: Database, child: str, parent: str, relation: str, *, dry_run: bool = False) -> Version:
    """Take back that `child` belongs to `parent`. Raises Refused for what work wrote, InvalidName, NotFound."""
    _require_stated(relation)
    if relation not in TAKEN_BACK:
        raise Refused(
            f"relation {relation}: says how a version was made, and that stays on record. "
            f"Only {' and '.join(TAKEN_BACK)} can be taken back."
        )
    with database.writing() as uow:
        version = resolve(uow, child)
        _refuse_made(uow, version)
        cut(uow, version, parent, relation)
        after = snapshot(uow, version)
        if not dry_run:
            uow.commit()
    return after


def require_same_family(uow: UnitOfWork, name: str, family: str, base: str) -> None:
    """A vector must have been made for the family of the base that it is said to belong to."""
    if base.startswith(EXTERNAL):
        return
    found = _family(uow, resolve(uow, base))
    if UNKNOWN not in (found, family) and found != family:
        raise Refused(
            f"{name}: identified as a vector for {family}, but its base {base} is {found}. "
            f"Name a base of family {family}, or leave the base out."
        )


def _require_stated(relation: str) -> None:
    if relation not in set(Relation):
        raise InvalidName(f"relation {relation!r}: expected one of {', '.join(STATED)}.")
    if relation in WRITTEN_BY_WORK:
        raise Refused(
            f"relation {relation}: is written by compositions and jobs, whose record stays as it is. "
            f"What can be said by hand: {', '.join(STATED)}."
        )


def _require_belonging(uow: UnitOfWork, child: VersionRow, base: str) -> None:
    """`base` must be a base or a text for one, and `child` something that can be added to it."""
    name = f"{child.model.slug}:{child.number}"
    if child.model.kind == Kind.BASE:
        raise Refused(f"{name}: is a base itself, and belongs to none. Name the vector first, then its base.")
    if base.startswith(EXTERNAL):
        return
    kind = resolve(uow, base).model.kind
    if kind != Kind.BASE:
        raise Refused(f"{name}: {base} is of kind {kind}, expected a base. Name a base, or {EXTERNAL} and its name.")
    require_same_family(uow, name, _family(uow, child), base)


def _family(uow: UnitOfWork, version: VersionRow) -> str:
    facts = uow.session.get(AdapterFactsRow, version.id)
    return facts.family if facts else UNKNOWN


def _require_weight(uow: UnitOfWork, child: VersionRow, parent: Parent) -> None:
    """An edge that is there keeps its weight; another one is said after taking it back."""
    edge = edge_of(uow, child, parent.parent, parent.relation)
    if parent.weight is not None and edge is not None and edge.weight != parent.weight:
        name = f"{child.model.slug}:{child.number}"
        said = "no weight" if edge.weight is None else f"weight {edge.weight}"
        remedy = f" Take it back first: tau link {name} {parent.parent} --remove" * (parent.relation in TAKEN_BACK)
        raise Conflict(f"{name}: is {parent.relation} {parent.parent} with {said}, got {parent.weight}.{remedy}")


def _refuse_made(uow: UnitOfWork, version: VersionRow) -> None:
    """The edges of what was composed, distilled or trained here were written by that work."""
    made = select(EdgeRow.relation).where(EdgeRow.child_id == version.id, EdgeRow.relation.in_(WRITTEN_BY_WORK))
    relation = uow.session.scalar(made.limit(1))
    if relation is not None or version.recipe_id is not None:
        work = "job" if relation == Relation.PRODUCED_BY else "composition"
        raise Refused(
            f"{version.model.slug}:{version.number}: its edges were written by the {work} that made it, "
            "and stay as they are."
        )

"""Lineage: edges from a version to what it was made from, and walks along them."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row, Select, case, insert, literal, select

from registry.errors import InvalidName, InvalidReference, LineageCycle, NotFound
from registry.history import record
from registry.references import resolve
from registry.tables import DatasetRow, EdgeRow, JobRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Edge, Lineage, Node, Parent, Relation

DATASET = "dataset:"
JOB = "job:"
EXTERNAL = "external:"
REMOVED = "removed"
"""How a tombstone's state reads in a graph."""

FINGERPRINT_SHOWN = 16
LARGEST = 500
"""Versions each way that a lineage shows unless it is asked for more: a base has as many children as there are."""

EDGES: Select[*tuple[Any, ...]] = (
    select(
        *(EdgeRow.child_id, EdgeRow.parent_id, EdgeRow.relation, EdgeRow.weight, EdgeRow.position, EdgeRow.external),
        *(EdgeRow.job_id, JobRow.kind.label("job"), JobRow.state.label("job_state")),
        *(DatasetRow.name.label("dataset"), DatasetRow.fingerprint),
    )
    .outerjoin(DatasetRow, DatasetRow.id == EdgeRow.dataset_id)
    .outerjoin(JobRow, JobRow.id == EdgeRow.job_id)
    .order_by(EdgeRow.child_id, EdgeRow.position, EdgeRow.id)
)
"""Every edge with the data set and the job that it may name."""


def link(uow: UnitOfWork, child: VersionRow, parent: Parent) -> None:
    """Write one edge, once. Raises LineageCycle where the parent descends from the child."""
    if parent.relation not in set(Relation):
        known = ", ".join(sorted(Relation))
        raise InvalidName(f"relation {parent.relation!r}: expected one of {known}.")
    column, value = _parent(uow, parent.parent)
    if column == "parent_id":
        _refuse_cycle(uow, child, int(value), parent.parent)
    there = (EdgeRow.child_id == child.id, EdgeRow.relation == parent.relation, EdgeRow.position == parent.position)
    if uow.session.scalar(select(EdgeRow.id).where(*there, getattr(EdgeRow, column) == value)):
        return
    edge = {"relation": parent.relation, "weight": parent.weight, "position": parent.position}
    uow.session.execute(insert(EdgeRow).values(child_id=child.id, **{column: value}, **edge))
    record(uow, "linked", child, after={"parent": parent.parent, **edge})


def edge_of(uow: UnitOfWork, child: VersionRow, parent: str, relation: str) -> EdgeRow | None:
    """The edge of that relation between the two, the first of several positions."""
    column, value = _parent(uow, parent)
    own = (EdgeRow.child_id == child.id, EdgeRow.relation == relation, getattr(EdgeRow, column) == value)
    return uow.session.scalar(select(EdgeRow).where(*own).order_by(EdgeRow.position).limit(1))


def cut(uow: UnitOfWork, child: VersionRow, parent: str, relation: str) -> None:
    """Take one edge away; history keeps it. Raises NotFound where there is none."""
    edge = edge_of(uow, child, parent, relation)
    if edge is None:
        name = f"{child.model.slug}:{child.number}"
        raise NotFound(f"{name} has no edge {relation} to {parent}. What it has: tau lineage {name}")
    before = {"parent": parent, "relation": relation, "weight": edge.weight, "position": edge.position}
    uow.session.delete(edge)
    uow.session.flush()
    record(uow, "unlinked", child, before=before)


def lineage(uow: UnitOfWork, ref: str, depth: int | None = None, limit: int = LARGEST) -> Lineage:
    """A version's ancestors and descendants, every edge that ends at one of them, and the parents those edges name.

    With `depth` no more than so many steps away. At most `limit` versions each way, the nearest: `complete` says
    whether that was all.
    """
    start = resolve(uow, ref).id
    above, all_above = _reached(uow, start, depth, limit, upwards=True)
    below, all_below = _reached(uow, start, depth, limit, upwards=False)
    family = {*above, *below}
    rows = uow.session.execute(EDGES.where(EdgeRow.child_id.in_(family))).all()
    versions = _version_nodes(uow, family | {row.parent_id for row in rows if row.parent_id})
    nodes = {versions[key].ref: versions[key] for key in sorted(versions)}
    edges = []
    for row in rows:
        parent = versions[row.parent_id] if row.parent_id else _outside_node(row)
        nodes.setdefault(parent.ref, parent)
        edges.append(Edge(versions[row.child_id].ref, parent.ref, row.relation, row.weight, row.position))
    return Lineage(tuple(nodes.values()), tuple(edges), all_above and all_below)


def dataset_ref(name: str, fingerprint: str) -> str:
    """How an edge names a data set: by name and the beginning of its fingerprint."""
    return f"{DATASET}{name}:{fingerprint[:FINGERPRINT_SHOWN]}"


def _reached(uow: UnitOfWork, start: int, depth: int | None, limit: int, *, upwards: bool) -> tuple[list[int], bool]:
    """`start` and what is above (or below) it, the nearest first, and whether that is all."""
    rows = uow.session.scalars(closure(start, upwards=upwards, depth=depth).limit(2 * limit + 1)).all()
    found = list(dict.fromkeys(rows))
    return found[:limit], len(found) <= limit and len(rows) <= 2 * limit


def closure(start: int, *, upwards: bool, depth: int | None = None, without: Sequence[str] = ()) -> Select[int]:
    """`start` and everything above (or below) it, by recursive SQL, not by edges of the relations `without`.

    With `depth` some may come twice.
    """
    here, there = (EdgeRow.child_id, EdgeRow.parent_id) if upwards else (EdgeRow.parent_id, EdgeRow.child_id)
    first = select(VersionRow.id, literal(0).label("depth")).where(VersionRow.id == start)
    walk = first.cte("ancestor" if upwards else "descendant", recursive=True)
    step = walk.c.depth if depth is None else walk.c.depth + 1
    further = select(there, step).join(walk, here == walk.c.id).where(there.is_not(None))
    further = further.where(EdgeRow.relation.not_in(without)) if without else further
    walk = walk.union(further if depth is None else further.where(walk.c.depth < depth))
    return select(walk.c.id)


def _version_nodes(uow: UnitOfWork, ids: Collection[int]) -> dict[int, Node]:
    state = case((VersionRow.removed_at.is_not(None), REMOVED), else_=VersionRow.state)
    columns = select(VersionRow.id, ModelRow.slug, VersionRow.number, ModelRow.kind, ModelRow.title, state)
    rows = uow.session.execute(columns.join(ModelRow).where(VersionRow.id.in_(ids)))
    return {key: Node(f"{slug}:{number}", kind, title, state) for key, slug, number, kind, title, state in rows}


def _outside_node(row: Row[Any]) -> Node:
    if row.dataset is not None:
        return Node(dataset_ref(row.dataset, row.fingerprint), "dataset", row.dataset, None)
    if row.job_id is not None:
        return Node(f"{JOB}{row.job_id}", "job", row.job, row.job_state)
    return Node(f"{EXTERNAL}{row.external}", "external", str(row.external), None)


def _parent(uow: UnitOfWork, text: str) -> tuple[str, int | str]:
    """The column and value by which an edge names `text`."""
    if text.startswith(DATASET):
        return "dataset_id", find_dataset(uow, text).id
    if text.startswith(JOB):
        return "job_id", _job(uow, text)
    if text.startswith(EXTERNAL):
        if not text.removeprefix(EXTERNAL):
            raise InvalidReference(f"parent {text!r}: expected {EXTERNAL} and what is meant, such as a Hub repository.")
        return "external", text.removeprefix(EXTERNAL)
    return "parent_id", resolve(uow, text).id


def find_dataset(uow: UnitOfWork, text: str) -> DatasetRow:
    """The newest data set that `dataset:NAME` or `dataset:NAME:FINGERPRINT` names. Raises NotFound."""
    name, _, fingerprint = text.removeprefix(DATASET).partition(":")
    matching = (DatasetRow.name == name, DatasetRow.fingerprint.startswith(fingerprint, autoescape=True))
    row = uow.session.scalar(select(DatasetRow).where(*matching).order_by(DatasetRow.id.desc()).limit(1))
    if row is None:
        raise NotFound(f"no data set is recorded as {text!r}. Record it with add_dataset first.")
    return row


def _job(uow: UnitOfWork, text: str) -> int:
    number = text.removeprefix(JOB)
    row = uow.session.get(JobRow, int(number)) if number.isascii() and number.isdigit() else None
    if row is None:
        raise NotFound(f"no job is recorded as {text!r}.")
    return row.id


def _refuse_cycle(uow: UnitOfWork, child: VersionRow, parent: int, text: str) -> None:
    above = closure(parent, upwards=True).subquery()
    if uow.session.scalar(select(above.c.id).where(above.c.id == child.id)):
        name = f"{child.model.slug}:{child.number}"
        raise LineageCycle(f"{name} -> {text}: {text} comes from {name} itself, so it cannot be its parent.")

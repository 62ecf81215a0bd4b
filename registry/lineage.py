"""Lineage: edges from a version to what it was made from, and walks along them."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import CompoundSelect, Select, insert, select, union

from registry.errors import InvalidName, InvalidReference, LineageCycle, NotFound
from registry.history import record
from registry.references import resolve
from registry.tables import DatasetRow, EdgeRow, JobRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Edge, Lineage, Node, Parent, Relation

DATASET = "dataset:"
JOB = "job:"
EXTERNAL = "external:"
FINGERPRINT_SHOWN = 16


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


def lineage(uow: UnitOfWork, ref: str) -> Lineage:
    """A version's ancestors and descendants, every edge that ends at one of them, and the parents those edges name."""
    version = resolve(uow, ref)
    around = (_closure(version.id, upwards=True), _closure(version.id, upwards=False))
    family = union(*around)
    parents = select(EdgeRow.parent_id).where(EdgeRow.child_id.in_(family), EdgeRow.parent_id.is_not(None))
    versions = dict(_version_nodes(uow, union(*around, parents)))
    nodes = {node.ref: node for node in versions.values()}
    edges = []
    for edge, dataset, job in uow.session.execute(_edges_of(family)):
        parent = versions[edge.parent_id] if edge.parent_id else _outside_node(edge, dataset, job)
        nodes.setdefault(parent.ref, parent)
        edges.append(Edge(versions[edge.child_id].ref, parent.ref, edge.relation, edge.weight, edge.position))
    return Lineage(tuple(nodes.values()), tuple(edges))


def dataset_ref(dataset: DatasetRow) -> str:
    """How an edge names a data set: by name and the beginning of its fingerprint."""
    return f"{DATASET}{dataset.name}:{dataset.fingerprint[:FINGERPRINT_SHOWN]}"


def _closure(start: int, *, upwards: bool) -> Select[int]:
    """`start` and everything above (or below) it, by recursive SQL."""
    here, there = (EdgeRow.child_id, EdgeRow.parent_id) if upwards else (EdgeRow.parent_id, EdgeRow.child_id)
    walk = (
        select(VersionRow.id).where(VersionRow.id == start).cte("ancestor" if upwards else "descendant", recursive=True)
    )
    walk = walk.union(select(there).join(walk, here == walk.c.id).where(there.is_not(None)))
    return select(walk.c.id)


def _version_nodes(uow: UnitOfWork, ids: CompoundSelect[Any]) -> Iterator[tuple[int, Node]]:
    columns = select(VersionRow.id, ModelRow.slug, VersionRow.number, ModelRow.kind, ModelRow.title, VersionRow.state)
    rows = uow.session.execute(columns.join(ModelRow).where(VersionRow.id.in_(ids)).order_by(VersionRow.id))
    for key, slug, number, kind, title, state in rows:
        yield key, Node(f"{slug}:{number}", kind, title, state)


def _edges_of(family: CompoundSelect[Any]) -> Select[EdgeRow, DatasetRow, JobRow]:
    """The edges that end at a member of `family`, with the data set and the job that they may name."""
    query = select(EdgeRow, DatasetRow, JobRow).where(EdgeRow.child_id.in_(family))
    query = query.outerjoin(DatasetRow, DatasetRow.id == EdgeRow.dataset_id)
    query = query.outerjoin(JobRow, JobRow.id == EdgeRow.job_id)
    return query.order_by(EdgeRow.child_id, EdgeRow.position, EdgeRow.id)


def _outside_node(edge: EdgeRow, dataset: DatasetRow | None, job: JobRow | None) -> Node:
    if dataset is not None:
        return Node(dataset_ref(dataset), "dataset", dataset.name, None)
    if job is not None:
        return Node(f"{JOB}{job.id}", "job", job.kind, job.state)
    return Node(f"{EXTERNAL}{edge.external}", "external", str(edge.external), None)


def _parent(uow: UnitOfWork, text: str) -> tuple[str, int | str]:
    """The column and value by which an edge names `text`."""
    if text.startswith(DATASET):
        return "dataset_id", _dataset(uow, text).id
    if text.startswith(JOB):
        return "job_id", _job(uow, text)
    if text.startswith(EXTERNAL):
        if not text.removeprefix(EXTERNAL):
            raise InvalidReference(f"parent {text!r}: expected {EXTERNAL} and what is meant, such as a Hub repository.")
        return "external", text.removeprefix(EXTERNAL)
    return "parent_id", resolve(uow, text).id


def _dataset(uow: UnitOfWork, text: str) -> DatasetRow:
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
    above = _closure(parent, upwards=True).subquery()
    if uow.session.scalar(select(above.c.id).where(above.c.id == child.id)):
        name = f"{child.model.slug}:{child.number}"
        raise LineageCycle(f"{name} -> {text}: {text} comes from {name} itself, so it cannot be its parent.")

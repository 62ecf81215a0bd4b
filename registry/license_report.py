"""What a version owes to what it was made from: licences propagated along edges, and where they contradict each other.

Every relation but `supersedes` and `produced_by` passes terms on. What an ancestor forbids stays forbidden; what it
asks (credit, the same licence, its list of forbidden uses) is asked again. Two relations are milder: an adapter does
not contain its base, so a ban on derivatives of the base, and of what the base was made from, does not reach it; and a
data set's terms are a notice, not a conflict.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, Select, select

from registry.licenses import COMMERCIAL, FREE, OTHER, Terms, terms_of
from registry.lineage import EXTERNAL, closure, dataset_ref
from registry.references import resolve
from registry.tables import DatasetRow, EdgeRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Relation

NOT_PASSED_ON = (Relation.SUPERSEDES, Relation.PRODUCED_BY)
NOT_CONTAINED = (Relation.ADAPTER_OF, Relation.TRAINED_ON)


@dataclass(frozen=True)
class Inherited:
    """One ancestor, by which relation it came in, and its licence; `terms` are None where they are not known.

    `contained`: something of it is in the version, not only in a base that the version is to be added to.
    """

    ref: str
    relation: str
    license: str | None
    terms: Terms | None
    contained: bool

    def __str__(self) -> str:
        return f"{self.ref} ({self.license or 'no licence stated'})"


@dataclass(frozen=True)
class LicenseReport:
    """`terms` are what is left after all ancestors; conflicts keep a version from being published, notices do not."""

    ref: str
    license: str | None
    terms: Terms
    inherited: tuple[Inherited, ...]
    conflicts: tuple[str, ...]
    notices: tuple[str, ...]


def license_report(uow: UnitOfWork, ref: str) -> LicenseReport:
    """The report of the version that `ref` means."""
    return report_of(uow, resolve(uow, ref))


def report_of(uow: UnitOfWork, version: VersionRow) -> LicenseReport:
    """The report of a version."""
    model = version.model
    own = terms_of(model.license, model.license_flags)
    inherited = tuple(_ancestors(uow, version))
    terms = own or FREE
    for one in inherited:
        terms = terms.both(_passed_on(one))
    said = _Claim(f"{model.slug}:{version.number}", model.license, own)
    conflicts = [*_forbidden(said, inherited), *_not_the_same(said, inherited)]
    notices = [*_unknown(said, inherited), *_asked(terms), *_datasets(said, inherited)]
    return LicenseReport(said.ref, model.license, terms, inherited, tuple(conflicts), tuple(notices))


def conflicts_of_sum(uow: UnitOfWork, refs: Iterable[str]) -> tuple[str, ...]:
    """What the licences of these versions, and of what they were made from, forbid of a sum of them.

    The sum has no licence of its own yet; where one of them asks for the same licence, it is taken to have that one.
    """
    found: dict[str, Inherited] = {}
    for version in (resolve(uow, ref) for ref in refs):
        model = version.model
        own = Inherited(
            f"{model.slug}:{version.number}",
            Relation.COMPOSED_FROM,
            model.license,
            terms_of(model.license, model.license_flags),
            contained=True,
        )
        for one in (own, *_ancestors(uow, version)):
            if one.ref not in found or one.contained:
                found[one.ref] = one
    inherited = tuple(found.values())
    asked = {one.license: one.terms for one in _asking(inherited)}
    license, terms = next(iter(asked.items())) if len(asked) == 1 else (None, None)
    said = _Claim("their sum", license, terms)
    return (*_forbidden(said, inherited), *_not_the_same(said, inherited))


@dataclass(frozen=True)
class _Claim:
    """What the version itself says."""

    ref: str
    license: str | None
    terms: Terms | None


def _passed_on(one: Inherited) -> Terms:
    terms = one.terms or FREE
    return terms if one.contained else replace(terms, derivatives=True)


def _forbidden(said: _Claim, inherited: tuple[Inherited, ...]) -> Iterator[str]:
    """What one ancestor forbids and the version does or allows."""
    for one in inherited:
        if one.terms is None or one.relation == Relation.TRAINED_ON:
            continue
        if not one.terms.derivatives and one.contained:
            yield f"{one} allows no derivatives, and {said.ref} is one ({one.relation})"
        if said.terms is None:
            continue
        granted = sorted(said.terms.commercial - one.terms.commercial)
        if granted:
            yield f"{said.ref} is {said.license or 'flagged'}, which allows to {', '.join(granted)}; {one} does not"
        dropped = one.terms.use_limits - said.terms.use_limits
        if dropped:
            yield f"{said.ref} is {said.license or 'flagged'}, which drops the use restrictions of {one}"


def _not_the_same(said: _Claim, inherited: tuple[Inherited, ...]) -> Iterator[str]:
    """Licences that ask for themselves, where the version or another ancestor has a different one."""
    asking = _asking(inherited)
    for one in asking:
        if said.license is not None and said.license != one.license:
            yield f"{one} asks for the same licence, and {said.ref} is {said.license}"
    different = {one.license: one for one in asking}
    if len(different) > 1:
        yield f"{' and '.join(map(str, different.values()))} ask for different licences"


def _asking(inherited: Iterable[Inherited]) -> list[Inherited]:
    """Those whose licence asks for itself."""
    return [one for one in inherited if one.terms and one.terms.same_license and one.relation != Relation.TRAINED_ON]


def _unknown(said: _Claim, inherited: tuple[Inherited, ...]) -> Iterator[str]:
    if said.license is None and inherited:
        yield f"{said.ref} states no licence"
    for one in inherited:
        if one.license is None or one.license in OTHER:
            yield f"{one.ref} states no licence: what it allows is not known"
        elif one.terms is None:
            yield f"the licence of {one} is not known here: read it"


def _asked(terms: Terms) -> Iterator[str]:
    if terms.use_limits:
        yield "pass on the list of forbidden uses of the RAIL licences"
    if terms.same_license:
        yield "keep the licence that an ancestor asks for"
    if terms.credit:
        yield "give credit to the ancestors"
    if terms.commercial != COMMERCIAL:
        allowed = ", ".join(sorted(terms.commercial)) or "none"
        yield f"commercial uses that are left: {allowed}"


def _datasets(said: _Claim, inherited: tuple[Inherited, ...]) -> Iterator[str]:
    for one in inherited:
        forbids = one.terms is not None and one.terms.commercial != COMMERCIAL
        if one.relation == Relation.TRAINED_ON and forbids and (said.terms is None or said.terms.commercial):
            yield f"{said.ref} was trained on {one}, whose licence restricts commercial use"


def _ancestors(uow: UnitOfWork, version: VersionRow) -> Iterator[Inherited]:
    """Everything that passes its terms on; what came in by several ways by one in which it is contained."""
    rows = uow.session.execute(_edges_above(version.id)).all()
    contained = _contained(version.id, rows)
    found: dict[str, Inherited] = {}
    for row in rows:
        one = _inherited(row, row.child_id in contained and row.relation not in NOT_CONTAINED)
        if one.ref not in found or one.contained:
            found[one.ref] = one
    yield from found.values()


def _contained(start: int, rows: Sequence[Row[Any]]) -> set[int]:
    """`start` and the ancestors that something of it came from."""
    parents: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if row.parent_id is not None and row.relation not in NOT_CONTAINED:
            parents[row.child_id].append(row.parent_id)
    found, waiting = {start}, [start]
    while waiting:
        new = set(parents[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def _edges_above(start: int) -> Select[*tuple[Any, ...]]:
    """The edges from `start` and its ancestors to their parents, with the licence of each parent."""
    passing = EdgeRow.relation.not_in(NOT_PASSED_ON)
    columns = (
        *(EdgeRow.child_id, EdgeRow.parent_id, EdgeRow.relation),
        *(ModelRow.slug, VersionRow.number, ModelRow.license, ModelRow.license_flags),
        *(EdgeRow.external, DatasetRow.name, DatasetRow.fingerprint, DatasetRow.license.label("dataset_license")),
    )
    query = select(*columns).select_from(EdgeRow)
    query = query.outerjoin(VersionRow, VersionRow.id == EdgeRow.parent_id).outerjoin(ModelRow)
    query = query.outerjoin(DatasetRow, DatasetRow.id == EdgeRow.dataset_id)
    above = closure(start, upwards=True, without=NOT_PASSED_ON)
    return query.where(EdgeRow.child_id.in_(above), passing).order_by(EdgeRow.child_id.desc(), EdgeRow.position)


def _inherited(row: Row[Any], contained: bool) -> Inherited:
    ref, license, flags = f"{EXTERNAL}{row.external}", None, {}
    if row.slug is not None:
        ref, license, flags = f"{row.slug}:{row.number}", row.license, row.license_flags
    elif row.name is not None:
        ref, license = dataset_ref(row.name, row.fingerprint), row.dataset_license
    return Inherited(ref, row.relation, license, terms_of(license, flags), contained)

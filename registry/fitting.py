"""Which vectors fit a base, and which bases a vector fits, with the reasons."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from formats.architecture import Architecture
from formats.findings import UNKNOWN
from formats.fitting import Fitting, Verdict
from registry.errors import Refused
from registry.search.query import Condition, Query, parse_query
from registry.search.search import bases, ids
from registry.snapshots import snapshots
from registry.tables import EdgeRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Kind, Relation, Version

VECTORS = (Kind.STYLE, Kind.ACCELERATION, Kind.COMPOSITION)
ORDER: Mapping[Verdict, int] = {"fits": 0, "partly": 1, "no": 2}


@dataclass(frozen=True)
class Fit:
    """One candidate; `partly` means that it can be used, but was made for something else."""

    version: Version
    verdict: Verdict
    reasons: tuple[str, ...]


def vectors_for(
    uow: UnitOfWork, base: Version, tables: Iterable[Architecture], limit: int, text: str | None = None
) -> tuple[Fit, ...]:
    """The newest vectors that a base can take: those of its own family, then those of families that are parts of it.

    Only those that the query `text` finds, where there is one. Raises InvalidQuery.
    """
    said = parse_query(text or "")
    family = _family(base)
    wider = [family, *_parts_of(family, tuple(tables))]
    found: list[Fit] = []
    for name in wider:
        own = (Condition("kind", VECTORS), Condition("family", (name,)))
        query = Query(said.terms, (*said.conditions, *own))
        keys = ids(uow, query, limit=limit - len(found))
        declared = _bases_of(uow, keys)
        found += [_vector(one, base, declared.get(one.id, ())) for one in snapshots(uow, keys)]
        if len(found) == limit:
            break
    return tuple(sorted(found, key=lambda fit: ORDER[fit.verdict]))


def bases_for(uow: UnitOfWork, vector: Version, found: Sequence[Fitting], limit: int) -> tuple[Fit, ...]:
    """The bases of every architecture, those first that the vector's modules fit; at most `limit` of each."""
    declared = _bases_of(uow, [vector.id]).get(vector.id, ())
    fits = [
        _base(base, vector, fitting, declared) for fitting in found for base in bases(uow, fitting.architecture, limit)
    ]
    return tuple(sorted(fits, key=lambda fit: (ORDER[fit.verdict], fit.version.ref not in declared)))


def require_vector(version: Version) -> None:
    """Refuse content in which nothing was identified that could fit anything."""
    if version.facts is None:
        raise Refused(f"{version.ref}: neither a base nor a vector, so nothing fits it. Name a base or a vector.")


def _family(base: Version) -> str:
    if base.family in (None, UNKNOWN):
        raise Refused(f"{base.ref}: its modules are not known, so nothing can be compared with them. Import it again.")
    return str(base.family)


def _parts_of(family: str, tables: Sequence[Architecture]) -> list[str]:
    """The architectures whose modules `family` has all, in the same shapes: SSD-1B is a part of SDXL."""
    own = next((table.modules for table in tables if table.name == family), {})
    return [
        table.name
        for table in tables
        if table.name != family and all(own.get(module) == spec for module, spec in table.modules.items())
    ]


def _vector(one: Version, base: Version, declared: Sequence[str]) -> Fit:
    count = (one.facts or {}).get("modules")
    if one.family != base.family:
        return Fit(one, "partly", (f"made for {one.family}, whose modules {base.family} has all in the same shapes",))
    verdict, reasons = _prediction(one, base)
    belongs = _belonging(base, declared)
    return Fit(one, verdict, (f"all {count} modules are {base.family}'s and every shape fits", *belongs, *reasons))


def _base(base: Version, vector: Version, fitting: Fitting, declared: Sequence[str]) -> Fit:
    verdict, reasons = _prediction(vector, base) if fitting.verdict == "fits" else (fitting.verdict, ())
    variant = _value(base, "variant")
    if verdict == "fits" and fitting.variants and variant not in fitting.variants:
        verdict, reasons = "no", (*reasons, f"the base is {variant or 'of an unknown variant'}")
    return Fit(base, verdict, (fitting.reason, *_belonging(base, declared), *reasons))


def _prediction(vector: Version, base: Version) -> tuple[Verdict, tuple[str, ...]]:
    """What both predict, where both are known: the shapes do not tell."""
    made_for, predicts = _value(vector, "prediction_type"), _value(base, "prediction_type")
    if made_for is None or predicts is None or made_for == predicts:
        return "fits", ()
    return "partly", (f"trained for {made_for} prediction, {base.ref} predicts {predicts}",)


def _belonging(base: Version, declared: Sequence[str]) -> tuple[str, ...]:
    if base.ref in declared:
        return (f"recorded as made for {base.ref}",)
    return (f"recorded as made for {', '.join(declared)}",) if declared else ()


def _value(version: Version, key: str) -> str | None:
    found = (version.facts or {}).get(key)
    value = found.get("value") if isinstance(found, dict) else None
    return None if value == UNKNOWN else value


def _bases_of(uow: UnitOfWork, keys: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """Version -> the bases that it is recorded to belong to."""
    query = select(EdgeRow.child_id, ModelRow.slug, VersionRow.number)
    query = query.join(VersionRow, VersionRow.id == EdgeRow.parent_id).join(ModelRow)
    own = (EdgeRow.child_id.in_(keys), EdgeRow.relation == Relation.ADAPTER_OF)
    found: dict[int, tuple[str, ...]] = {}
    for child, slug, number in uow.session.execute(query.where(*own).order_by(EdgeRow.id)):
        found[child] = (*found.get(child, ()), f"{slug}:{number}")
    return found

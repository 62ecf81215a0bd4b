"""Search: versions by text and conditions, in four orders, a page at a time by key."""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Unpack

from sqlalchemy import select

from registry.errors import InvalidName, InvalidQuery
from registry.references import offered_first
from registry.search import postgresql, sqlite
from registry.search.matches import Match, Tier, match_of, require_known
from registry.search.query import Conditions, Query, conditions_of, parse_query, tag_conditions
from registry.snapshots import snapshots
from registry.states import State
from registry.tables import AdapterFactsRow, ArchitectureRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import COUNTED, Kind, Page, Version

LARGEST_PAGE = 1_000


class Sort(StrEnum):
    """The orders in which versions can be listed."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    RELEVANCE = "relevance"  # by where the words stand; without words, the newest first


@dataclass(frozen=True)
class Cursor:
    """Where a page ended: the id of its last version, its tier under `relevance`, its name under `name`.

    `query` is a digest of what was asked, so that a cursor is not taken for another search's.
    """

    query: str
    id: int
    tier: int = Tier.ANYWHERE
    name: str = ""

    def __str__(self) -> str:
        document = json.dumps([self.query, self.id, int(self.tier), self.name]).encode()
        return base64.urlsafe_b64encode(document).decode().rstrip("=")


def query_of(
    text: str | None = None,
    *,
    tags: Mapping[str, str] | Iterable[str] | None = None,
    without_tags: Mapping[str, str] | Iterable[str] | None = None,
    **conditions: Unpack[Conditions],
) -> Query:
    """A query from its text and from keyword arguments."""
    said = parse_query(text or "")
    more = (*conditions_of(conditions), *tag_conditions(tags or ()), *tag_conditions(without_tags or (), excluded=True))
    return Query(said.terms, (*said.conditions, *more))


def page(
    uow: UnitOfWork,
    query: Query,
    *,
    sort: str = Sort.NEWEST,
    limit: int = 50,
    after: str | int | None = None,
    counted: bool = False,
) -> Page:
    """One page; archived versions only where `state` says so, removed ones never.

    `after` is the cursor of the page before; in the orders by age the id of its last version will do.
    """
    if not 1 <= limit <= LARGEST_PAGE:
        raise InvalidName(f"limit {limit}: expected 1 to {LARGEST_PAGE}. Ask for the next page with after=.")
    order = Sort(require_known(sort, list(Sort), "sort"))
    match = match_of(uow, query)
    digest = _digest(query, order)
    past = None if after is None else _cursor(after, digest, order)
    if match.is_empty:
        return Page((), None, 0 if counted else None)
    found = _found(uow, match, order, past, limit + 1)
    versions = tuple(snapshots(uow, [key for key, _ in found[:limit]]))
    last = found[limit - 1] if len(found) > limit else None
    cursor = None if last is None else str(Cursor(digest, last[0], last[1], versions[-1].model))
    return Page(versions, cursor, engine(uow).count(uow, match, COUNTED + 1) if counted else None)


def ids(uow: UnitOfWork, query: Query, *, limit: int) -> list[int]:
    """The ids of the newest matching versions."""
    match = match_of(uow, query)
    return [] if match.is_empty else [key for key, _ in _found(uow, match, Sort.NEWEST, None, limit)]


def count(uow: UnitOfWork, query: Query, cap: int = COUNTED + 1) -> int:
    """How many versions match, counted up to `cap`."""
    match = match_of(uow, query)
    return 0 if match.is_empty else int(engine(uow).count(uow, match, cap))


def engine(uow: UnitOfWork) -> ModuleType:
    """What finds on this database."""
    return postgresql if uow.session.get_bind().dialect.name == "postgresql" else sqlite


def bases(uow: UnitOfWork, family: str, limit: int | None = None) -> list[Version]:
    """The base that each model of that family offers by its bare name, oldest model first."""
    hidden = (VersionRow.state != State.ARCHIVED, VersionRow.removed_at.is_(None))
    other = select(VersionRow.id).where(VersionRow.model_id == ModelRow.id, *hidden)
    offered = other.order_by(offered_first(), VersionRow.number.desc()).limit(1).correlate(ModelRow).scalar_subquery()
    query = select(VersionRow.id).join(ModelRow).join(AdapterFactsRow).where(VersionRow.id == offered)
    query = query.where(ModelRow.kind == Kind.BASE, AdapterFactsRow.family == family).order_by(ModelRow.id)
    return snapshots(uow, uow.session.scalars(query.limit(limit)).all())


def architecture_rows(uow: UnitOfWork) -> Sequence[ArchitectureRow]:
    """The module tables of imported bases."""
    return uow.session.scalars(select(ArchitectureRow).order_by(ArchitectureRow.id)).all()


def _found(uow: UnitOfWork, match: Match, order: Sort, past: Cursor | None, limit: int) -> list[tuple[int, Tier]]:
    """The next ids, each with its tier."""
    finds = engine(uow)
    if order == Sort.NAME:
        beyond = ("", 0) if past is None else (past.name, past.id)
        return [(key, Tier.ANYWHERE) for key in finds.find_by_name(uow, match, past=beyond, limit=limit)]
    if order == Sort.RELEVANCE and match.words and not match.shapes:
        beyond_rank = None if past is None else (past.id, Tier(past.tier))
        return list(finds.find_by_tier(uow, match, past=beyond_rank, limit=limit))
    last = None if past is None else past.id
    found = finds.find(uow, match, tier=None, newest=order != Sort.OLDEST, past=last, limit=limit)
    return [(key, Tier.ANYWHERE) for key in found]


def _digest(query: Query, order: Sort) -> str:
    return hashlib.sha256(f"{order}\0{query}".encode()).hexdigest()[:16]


def _cursor(said: str | int, digest: str, order: Sort) -> Cursor:
    if isinstance(said, int):
        if order not in (Sort.NEWEST, Sort.OLDEST):
            raise InvalidQuery(f"after {said}: an id is enough in the orders by age alone, not by {order}.")
        return Cursor(digest, said)
    try:
        query, key, tier, name = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
        cursor = Cursor(str(query), int(key), Tier(tier), str(name))
    except (ValueError, TypeError):
        raise InvalidQuery(f"after {said!r}: expected the cursor of a page. Leave it out for the first page.") from None
    if cursor.query != digest:
        raise InvalidQuery("after: a cursor of another search or order. Leave it out for this one's first page.")
    return cursor

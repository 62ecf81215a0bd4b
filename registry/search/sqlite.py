"""Finding on SQLite: one FTS5 expression holds words and facets, and its hits come out newest first.

FTS5 walks the sorted lists of all terms side by side and stops at the limit, so that a page costs what it shows. Long
beginnings of words, for which it would merge lists first, are spelled out as the words that the vocabulary has.
Patterns go through the trigrams of names and titles, and are then compared with the entries themselves.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Dialect

from registry.dialect import Instant
from registry.search.matches import SHORTEST_SHAPE, Facet, Match, Ranked, Tier, by_tier, like, with_endings
from registry.search.query import STAR, Term
from registry.tables.search import FACET, PREFIXES
from registry.unit_of_work import UnitOfWork

COLUMNS = {
    Tier.NAMED: "name",
    Tier.NAME: "name",
    Tier.HEADING: "name title words",
    Tier.ANYWHERE: "name title words description",
}
FEW = 10_000
"""Hits that are sorted by name after they are found; more of them are met while walking the names in order."""

LONGER = "SELECT term FROM search_vocabulary WHERE term >= :first AND term <= :last LIMIT :limit"
Sql = tuple[str, dict[str, Any]]


def find(uow: UnitOfWork, match: Match, *, tier: Tier | None, newest: bool, past: int | None, limit: int) -> list[int]:
    """The ids of matching versions by id, beyond the id `past`; with `tier` those alone that are of that tier."""
    source, values = source_of(spelled(uow, match), tier)
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    beyond = "" if past is None else f" AND hit.rowid {side} :past"
    statement = f"SELECT hit.rowid {source}{beyond} ORDER BY hit.rowid {order} LIMIT :limit"
    return _first_column(uow, statement, {**values, "past": past, "limit": limit})


def find_by_tier(uow: UnitOfWork, match: Match, *, past: Ranked | None, limit: int) -> list[Ranked]:
    """The ids of matching versions with their tiers, the best tier first and in it the newest, beyond `past`."""
    return by_tier(
        lambda tier, last, left: find(uow, match, tier=tier, newest=True, past=last, limit=left), past, limit
    )


def find_by_name(uow: UnitOfWork, match: Match, *, past: tuple[str, int], limit: int) -> list[int]:
    """The ids of matching versions by name and id, beyond that name and id."""
    few = count(uow, match, FEW + 1) <= FEW
    match = spelled(uow, match)
    source, values = source_of(match, None, with_entries=True) if few else _all_entries(match)
    statement = (
        f"SELECT entry.version_id {source} AND (entry.name, entry.version_id) > (:name, :past) "
        "ORDER BY entry.name, entry.version_id LIMIT :limit"
    )
    return _first_column(uow, statement, {**values, "name": past[0], "past": past[1], "limit": limit})


def count(uow: UnitOfWork, match: Match, cap: int) -> int:
    """How many versions match, counted up to `cap`."""
    source, values = source_of(spelled(uow, match), None)
    statement = f"SELECT count(*) FROM (SELECT 1 {source} LIMIT :cap)"
    return int(_first_column(uow, statement, {**values, "cap": cap})[0])


def spelled(uow: UnitOfWork, match: Match) -> Match:
    """With the endings of its long words."""
    return with_endings(match, PREFIXES + 1, lambda bounds: _first_column(uow, LONGER, dict(bounds)))


def token(facet: Facet) -> str:
    """The token of a facet: letters and digits alone, so that the tokeniser keeps it whole."""
    return f"{FACET}{facet.key}x{facet.value.encode().hex()}"


def expression(match: Match, tier: Tier | None) -> str:
    """Words and facets in FTS5's language; with `tier` without the hits of better tiers."""
    wanted = [*_words(match, Tier.ANYWHERE if tier is None else tier)]
    wanted += [_facets(group) for group in match.groups]
    barred = [_word(match, term, Tier.ANYWHERE) for term in match.unwanted if term.words]
    barred += [_facets(match.barred)] if match.barred else []
    if tier:
        barred.append(f"({' AND '.join(_words(match, Tier(tier - 1)))})")
    said = " AND ".join(wanted)
    return f"({said}) NOT ({' OR '.join(barred)})" if barred else said


def _words(match: Match, tier: Tier) -> list[str]:
    words = [_word(match, term, tier) for term in match.words]
    return [*words, _facets([match.named])] if tier == Tier.NAMED else words


def _word(match: Match, term: Term, tier: Tier) -> str:
    """The text as it is said: FTS5 cuts its words as it cut those that it indexed."""
    phrase = _quoted(term.text) + ("" if term.exact else " *")
    if term in match.endings:
        phrase = f"({' OR '.join(_quoted(term.text.rstrip(STAR) + ending) for ending in match.endings[term])})"
    return f"({{{COLUMNS[tier]}}} : {phrase})"


def _facets(group: Iterable[Facet]) -> str:
    return f"(facets : ({' OR '.join(map(token, group))}))"


def source_of(match: Match, tier: Tier | None, *, with_entries: bool = False) -> Sql:
    """FROM and WHERE; the hits are called `hit`, and their entries `entry` where asked for or needed."""
    values: dict[str, Any] = {}
    wanted = [shape for shape in match.shapes if not shape.excluded]
    join = " CROSS JOIN search_entry AS entry ON entry.version_id = hit.rowid" if wanted or with_entries else ""
    if wanted:
        values["said"] = " AND ".join(_quoted(trigram) for shape in wanted for trigram in _trigrams(shape))
        table, parts = "search_trigram", _in_entry(match, values)
    else:
        values["said"] = expression(match, tier)
        table, parts = "search_text", _shapes(match, "hit.rowid", values)
    parts = [f"{table} MATCH :said", *parts, *_bounds(match, "hit.rowid", values)]
    return f"FROM {table} AS hit{join} WHERE {' AND '.join(parts)}", values


def _all_entries(match: Match) -> Sql:
    """FROM and WHERE of a walk over the entries themselves, called `entry`."""
    values: dict[str, Any] = {}
    parts = [*_in_entry(match, values), *_bounds(match, "entry.version_id", values)]
    return f"FROM search_entry AS entry WHERE {' AND '.join(parts)}", values


def _in_entry(match: Match, values: dict[str, Any]) -> list[str]:
    """What a row of search_entry, called `entry`, has to meet."""
    has = "instr(entry.facets || ' ', ' {} ') > 0"
    parts = [f"({' OR '.join(has.format(token(facet)) for facet in group)})" for group in match.groups]
    parts += [f"NOT {has.format(token(facet))}" for facet in match.barred]
    for number, term in enumerate(term for term in match.terms if not term.is_pattern):
        values[f"word{number}"] = _word(match, term, Tier.ANYWHERE)
        inside = f"IN (SELECT rowid FROM search_text WHERE search_text MATCH :word{number})"
        parts += [f"entry.version_id {'NOT ' * term.excluded}{inside}"] if term.words else []
    return [*parts, *_shapes(match, "entry.version_id", values)] or ["1"]


def _shapes(match: Match, key: str, values: dict[str, Any]) -> list[str]:
    parts = []
    for number, shape in enumerate(match.shapes):
        values[f"shape{number}"] = like(shape)
        owner = "entry" if key == "entry.version_id" else "e"
        alike = " OR ".join(f"{owner}.{column} LIKE :shape{number} ESCAPE '\\'" for column in ("name", "title"))
        found = f"({alike})"
        if owner == "e":
            found = f"EXISTS (SELECT 1 FROM search_entry AS e WHERE e.version_id = {key} AND {found})"
        parts.append(f"NOT {found}" if shape.excluded else found)
    return parts


def _bounds(match: Match, key: str, values: dict[str, Any]) -> list[str]:
    parts = []
    if match.ids is not None:
        parts.append(f"{key} IN ({', '.join(map(str, match.ids))})")
    for name, side in (("after", ">"), ("before", "<")):
        if getattr(match, name) is not None:
            values[name] = getattr(match, name)
            parts.append(f"{key} {side} :{name}")
    for name, side in (("since", ">="), ("until", "<")):
        if getattr(match, name) is not None:
            values[name] = getattr(match, name)
            parts.append(f"(SELECT created_at FROM version WHERE version.id = {key}) {side} :{name}")
    return parts


def _trigrams(shape: Term) -> list[str]:
    """All that the index can know of a pattern: any three characters in a row."""
    parts = (part.lower() for part in shape.text.split(STAR) if len(part) >= SHORTEST_SHAPE)
    return [part[at : at + SHORTEST_SHAPE] for part in parts for at in range(len(part) - SHORTEST_SHAPE + 1)]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _first_column(uow: UnitOfWork, statement: str, values: dict[str, Any]) -> list[Any]:
    """Ask the driver itself: each search is another statement, and compiling it would take longer than its answer."""
    uow.session.flush()
    connection = uow.session.connection()
    plain = {name: _plain(value, connection.dialect) for name, value in values.items()}
    return [row[0] for row in connection.exec_driver_sql(statement, plain)]


def _plain(value: Any, dialect: Dialect) -> Any:
    """A value as SQLite keeps it."""
    return Instant().process_bind_param(value, dialect) if isinstance(value, datetime) else value

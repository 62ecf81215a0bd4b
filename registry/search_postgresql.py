"""Finding on PostgreSQL: one tsvector an entry holds words and facets, indexed by GIN.

GIN gives hits in no order, so a page of the newest is found in two ways. Where hits are dense, the newest entries are
walked by id and compared one by one. Where they are sparse, GIN finds them, within windows of ids that grow: it fetches
few more rows than a page needs, unless what is asked for was far more frequent in the past.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import String, bindparam, text
from sqlalchemy.sql.elements import TextClause

from registry.dialect import Instant
from registry.query import Term
from registry.search_matches import Facet, Match, Tier, like
from registry.tables.search import HEADING_WORD, LEXEME, NAME_WORD, WINDOW_BITS
from registry.unit_of_work import UnitOfWork

WALKED = 8_192
"""Entries that are compared one by one before GIN is asked: about two milliseconds."""

FIRST_WINDOWS = 4
"""Windows of ids that GIN looks into first; then into all others."""

MARKS = {Tier.NAMED: NAME_WORD, Tier.NAME: NAME_WORD, Tier.HEADING: HEADING_WORD}
WEIGHTS = {Tier.NAMED: "A", Tier.NAME: "A", Tier.HEADING: "ABC", Tier.ANYWHERE: "ABCD"}
BEYOND_ALL = 2**62


def find(uow: UnitOfWork, match: Match, *, tier: Tier | None, newest: bool, past: int | None, limit: int) -> list[int]:
    """The ids of matching versions by id, beyond the id `past`; with `tier` those alone that are of that tier."""
    said = expression(match, tier)
    if match.ids is not None:
        return _fetch(uow, match, said, newest=newest, start=past, limit=limit)
    start = _start(match, newest=newest, past=past)
    found = _walk(uow, match, said, newest=newest, start=start, limit=limit)
    if len(found) == limit:
        return found
    end = _end_of_walk(uow, newest=newest, start=start)
    if end is None:
        return found
    for windows in _windows(uow, end, newest=newest):
        inside = f"{said} & {_any(windows)}" if windows else said
        found += _fetch(uow, match, inside, newest=newest, start=end, limit=limit - len(found))
        if len(found) == limit:
            break
        end = _far_end(windows, newest=newest) if windows else end
    return found


def find_by_name(uow: UnitOfWork, match: Match, *, past: tuple[str, int], limit: int) -> list[int]:
    """The ids of matching versions by name and id, beyond that name and id."""
    conditions, values = _conditions(match)
    statement = (
        f"SELECT version_id FROM search_entry AS entry WHERE document @@ CAST(:said AS tsquery) {conditions} "
        "AND (name, version_id) > (:name, :past) ORDER BY name, version_id LIMIT :limit"
    )
    values |= {"said": expression(match, None), "name": past[0], "past": past[1], "limit": limit}
    return list(uow.session.scalars(_typed(statement, values), values))


def count(uow: UnitOfWork, match: Match, cap: int) -> int:
    """How many versions match, counted up to `cap`."""
    conditions, values = _conditions(match)
    statement = (
        "SELECT count(*) FROM (SELECT 1 FROM search_entry AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions} LIMIT {int(cap)}) AS hit"
    )
    values["said"] = expression(match, None)
    return int(uow.session.scalars(_typed(statement, values), values).one())


def expression(match: Match, tier: Tier | None) -> str:
    """Words and facets as a tsquery; with `tier` without the hits of better tiers."""
    wanted = [*_words(match, Tier.ANYWHERE if tier is None else tier), *map(_any, match.groups)]
    barred = [_word(term, Tier.ANYWHERE) for term in match.unwanted if term.words]
    barred += [_lexeme(facet) for facet in match.barred]
    if tier:
        barred.append(f"({' & '.join(_words(match, Tier(tier - 1)))})")
    return " & ".join([*wanted, *(f"!{part}" for part in barred)])


def _words(match: Match, tier: Tier) -> list[str]:
    words = [_word(term, tier) for term in match.words]
    return [*words, _lexeme(match.named)] if tier == Tier.NAMED else words


def _word(term: Term, tier: Tier) -> str:
    """One word is a lexeme; several must follow each other within one field, which a weight stands for."""
    star = "" if term.exact else "*"
    mark = MARKS.get(tier, "")
    *before, last = term.words
    lexemes = [*(_quoted(mark + word) for word in before), _quoted(mark + last) + (f":{star}" if star else "")]
    if not before:
        return f"({lexemes[0]})"
    phrases = (
        " <-> ".join([*(f"{_quoted(word)}:{weight}" for word in before), f"{_quoted(last)}:{star}{weight}"])
        for weight in WEIGHTS[tier]
    )
    return f"({' & '.join(lexemes)} & ({' | '.join(f'({phrase})' for phrase in phrases)}))"


def _any(group: Iterable[Facet]) -> str:
    return f"({' | '.join(map(_lexeme, group))})"


def _lexeme(facet: Facet) -> str:
    return _quoted(f"{LEXEME}{facet.key}:{facet.value}")


def _quoted(word: str) -> str:
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def _start(match: Match, *, newest: bool, past: int | None) -> int:
    """The id beyond which to look: the page's, or the query's own bound."""
    if newest:
        return min(bound for bound in (past, match.before, BEYOND_ALL) if bound is not None)
    return max(bound for bound in (past, match.after, 0) if bound is not None)


def _walk(uow: UnitOfWork, match: Match, said: str, *, newest: bool, start: int, limit: int) -> list[int]:
    """The hits among the next entries."""
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    conditions, values = _conditions(match)
    statement = (
        f"SELECT version_id FROM (SELECT * FROM search_entry WHERE version_id {side} :start "
        f"ORDER BY version_id {order} LIMIT {WALKED}) AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions} ORDER BY version_id {order} LIMIT :limit"
    )
    values |= {"said": said, "start": start, "limit": limit}
    return list(uow.session.scalars(_typed(statement, values), values))


def _end_of_walk(uow: UnitOfWork, *, newest: bool, start: int) -> int | None:
    """The last id that was walked over, None where there was nothing beyond it."""
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    statement = (
        f"SELECT version_id FROM search_entry WHERE version_id {side} :start "
        f"ORDER BY version_id {order} OFFSET {WALKED - 1} LIMIT 1"
    )
    end = uow.session.scalar(text(statement), {"start": start})
    return None if end is None else int(end)


def _windows(uow: UnitOfWork, end: int, *, newest: bool) -> Iterator[list[Facet]]:
    """The windows beyond `end` to look into one after the other; the last, empty, stands for all that is left."""
    last = uow.session.scalar(text(f"SELECT {'min' if newest else 'max'}(version_id) FROM search_entry"))
    step = -1 if newest else 1
    here, there = ((end + step) >> WINDOW_BITS), int(last or 0) >> WINDOW_BITS
    numbers = range(here, there + step, step)
    if len(numbers) > FIRST_WINDOWS:
        yield [Facet("window", str(number)) for number in numbers[:FIRST_WINDOWS]]
    yield []


def _far_end(windows: list[Facet], *, newest: bool) -> int:
    """The id next to the last window, on this side of all that is beyond it."""
    number = int(windows[-1].value)
    return number << WINDOW_BITS if newest else ((number + 1) << WINDOW_BITS) - 1


def _fetch(uow: UnitOfWork, match: Match, said: str, *, newest: bool, start: int | None, limit: int) -> list[int]:
    """The next hits by way of GIN: without an id in the inner query the planner has no other way."""
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    conditions, values = _conditions(match)
    statement = (
        "WITH hit AS MATERIALIZED (SELECT version_id FROM search_entry AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions}) "
        f"SELECT version_id FROM hit WHERE version_id {side} :start ORDER BY version_id {order} LIMIT :limit"
    )
    beyond = (BEYOND_ALL if newest else 0) if start is None else start
    values |= {"said": said, "start": beyond, "limit": limit}
    return list(uow.session.scalars(_typed(statement, values), values))


def _conditions(match: Match) -> tuple[str, dict[str, Any]]:
    """What is no lexeme: shapes of names, ids and times; and the values of their parameters."""
    values: dict[str, Any] = {}
    parts = []
    if match.ids is not None:
        parts.append(f"version_id IN ({', '.join(map(str, match.ids))})")
    for number, shape in enumerate(match.shapes):
        values[f"shape{number}"] = like(shape)
        alike = f"(name ILIKE :shape{number} OR title ILIKE :shape{number})"
        parts.append(f"NOT {alike}" if shape.excluded else alike)
    for name, side in (("after", ">"), ("before", "<")):
        if getattr(match, name) is not None:
            values[name] = getattr(match, name)
            parts.append(f"version_id {side} :{name}")
    for name, side in (("since", ">="), ("until", "<")):
        if getattr(match, name) is not None:
            values[name] = getattr(match, name)
            parts.append(f"(SELECT created_at FROM version WHERE version.id = version_id) {side} :{name}")
    return "".join(f" AND {part}" for part in parts), values


def _typed(statement: str, values: dict[str, Any]) -> TextClause:
    """With the tsquery as a literal: as a parameter it would be planned without knowing how frequent its words are."""
    moments = [bindparam(name, type_=Instant()) for name in ("since", "until") if name in values]
    return text(statement).bindparams(*moments, bindparam("said", type_=String(), literal_execute=True))

"""Finding on PostgreSQL: one tsvector an entry holds words and facets, indexed by GIN.

GIN gives hits in no order, so a page of the newest is found in two ways. Where the planner expects them to be dense,
the newest entries are walked by id and compared one by one. Where they are sparse, GIN finds them: the few that there
are at once, more of them within windows of ids that grow. GIN is asked for what is rare; what would have it merge long
lists first (the beginnings of many words, exclusions of words) is compared with the rows that it finds.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import String, bindparam, text
from sqlalchemy.sql.elements import TextClause

from registry.dialect import Instant
from registry.search.matches import Facet, Match, Ranked, Tier, by_tier, like, with_endings
from registry.search.query import Term
from registry.tables.search import HEADING_WORD, LEXEME, NAME_WORD, WINDOW_BITS
from registry.unit_of_work import UnitOfWork

WALKED = 8_192
"""Entries that are compared one by one at most: several milliseconds."""

LONGER = text("SELECT word FROM search_word WHERE word >= :first AND word <= :last LIMIT :limit")
FEW = 3_000
"""Hits that GIN fetches and ranks at once; of more the tiers are asked for one after the other, in windows."""

SHORT = 4
"""Letters of a beginning that many words have: no work for GIN where other words are asked for too."""

FIRST_WINDOWS = 4
"""Windows of ids that GIN looks into first; then into all others."""

MARKS = {Tier.NAMED: NAME_WORD, Tier.NAME: NAME_WORD, Tier.HEADING: HEADING_WORD}
WEIGHTS = {Tier.NAMED: "A", Tier.NAME: "A", Tier.HEADING: "ABC", Tier.ANYWHERE: "ABCD"}
BEYOND_ALL = 2**62


def find(uow: UnitOfWork, match: Match, *, tier: Tier | None, newest: bool, past: int | None, limit: int) -> list[int]:
    """The ids of matching versions by id, beyond the id `past`; with `tier` those alone that are of that tier."""
    match = spelled(uow, match)
    said = expression(match, tier)
    start = _start(match, newest=newest, past=past)
    if match.ids is not None or tier == Tier.NAMED:
        return _fetch(uow, match, said, tier, newest=newest, start=start, limit=limit)
    expected, entries = _expected(uow, said)
    found: list[int] = []
    if expected * WALKED >= 2 * limit * entries or _short(match):
        found = _walk(uow, match, said, tier, newest=newest, start=start, limit=limit)
        if len(found) == limit:
            return found
        end = _end_of_walk(uow, newest=newest, start=start)
        if end is None:
            return found
        start = end
    for windows in [[]] if expected <= FEW and not _short(match) else _windows(uow, start, newest=newest):
        inside = f"{said} & {_any(windows)}" if windows else said
        found += _fetch(uow, match, inside, tier, newest=newest, start=start, limit=limit - len(found))
        if len(found) == limit:
            break
        start = _far_end(windows, newest=newest) if windows else start
    return found


def find_by_tier(uow: UnitOfWork, match: Match, *, past: Ranked | None, limit: int) -> list[Ranked]:
    """The ids of matching versions with their tiers, the best tier first and in it the newest, beyond `past`."""
    match = spelled(uow, match)
    found = _few(uow, match, past, limit)
    if found is not None:
        return found
    return by_tier(
        lambda tier, last, left: find(uow, match, tier=tier, newest=True, past=last, limit=left), past, limit
    )


def find_by_name(uow: UnitOfWork, match: Match, *, past: tuple[str, int], limit: int) -> list[int]:
    """The ids of matching versions by name and id, beyond that name and id."""
    match = spelled(uow, match)
    conditions, values = _conditions(match, None)
    statement = (
        f"SELECT version_id FROM search_entry AS entry WHERE document @@ CAST(:said AS tsquery) {conditions} "
        "AND (name, version_id) > (:name, :past) ORDER BY name, version_id LIMIT :limit"
    )
    values |= {"said": expression(match, None), "name": past[0], "past": past[1], "limit": limit}
    return list(uow.session.scalars(_typed(statement, values), values))


def count(uow: UnitOfWork, match: Match, cap: int) -> int:
    """How many versions match, counted up to `cap`."""
    match = spelled(uow, match)
    conditions, values = _conditions(match, None)
    statement = (
        "SELECT count(*) FROM (SELECT 1 FROM search_entry AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions} LIMIT {int(cap)}) AS hit"
    )
    values["said"] = expression(match, None)
    return int(uow.session.scalars(_typed(statement, values), values).one())


def spelled(uow: UnitOfWork, match: Match) -> Match:
    """With the endings of its words: for a beginning GIN would merge the lists of all words first."""
    if match.endings:
        return match
    return with_endings(match, SHORT, lambda bounds: uow.session.scalars(LONGER, bounds).all())


def expression(match: Match, tier: Tier | None) -> str:
    """What GIN is asked for, as a tsquery: words, facets, and facets that must not be there."""
    words = [word for word in match.words if word not in _broad(match)]
    wanted = [*_words(match, words, Tier.ANYWHERE if tier is None else tier), *map(_any, match.groups)]
    return " & ".join([*wanted, *(f"!{_lexeme(facet)}" for facet in match.barred)])


def _short(match: Match) -> list[Term]:
    """Beginnings that many words have: how frequent they are the planner does not know."""
    return [w for w in match.words if not w.exact and w not in match.endings and len(w.words[-1]) <= SHORT]


def _broad(match: Match) -> list[Term]:
    """Short beginnings beside other words."""
    short = _short(match)
    return short if len(short) < len(match.words) else []


def _compared(match: Match, tier: Tier | None) -> dict[str, str]:
    """What the rows that GIN finds are compared with: condition -> tsquery; with `tier` no hits of better tiers."""
    broad = [_word(match, term, Tier.ANYWHERE if tier is None else tier) for term in _broad(match)]
    unwanted = [_word(match, term, Tier.ANYWHERE) for term in match.unwanted if term.words]
    better = _words(match, match.words, Tier(tier - 1)) if tier else []
    said = {
        "(document @@ CAST(:broad AS tsquery)) IS TRUE": " & ".join(broad),
        "NOT document @@ CAST(:unwanted AS tsquery)": " | ".join(unwanted),
        "NOT document @@ CAST(:better AS tsquery)": " & ".join(better),
    }
    return {condition: query for condition, query in said.items() if query}


def _words(match: Match, terms: Iterable[Term], tier: Tier) -> list[str]:
    words = [_word(match, term, tier) for term in terms]
    return [*words, _lexeme(match.named)] if tier == Tier.NAMED else words


def _word(match: Match, term: Term, tier: Tier) -> str:
    """One word is a lexeme; several must follow each other within one field, which a weight stands for."""
    mark = MARKS.get(tier, "")
    *before, last = term.words
    found = _last(match, term, mark + last, "")
    if not before:
        return found
    lexemes = [*(_quoted(mark + word) for word in before), found]
    phrases = (
        " <-> ".join([*(f"{_quoted(word)}:{weight}" for word in before), _last(match, term, last, weight)])
        for weight in WEIGHTS[tier]
    )
    return f"({' & '.join(lexemes)} & ({' | '.join(f'({phrase})' for phrase in phrases)}))"


def _last(match: Match, term: Term, word: str, weight: str) -> str:
    """A term's last word: itself, with all of its endings, or as a beginning."""
    if term.exact or term in match.endings:
        suffix = f":{weight}" if weight else ""
        return f"({' | '.join(_quoted(word + ending) + suffix for ending in match.endings.get(term, ('',)))})"
    return f"({_quoted(word)}:*{weight})"


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


def _expected(uow: UnitOfWork, said: str) -> tuple[int, int]:
    """How many hits, and how many entries, the planner expects."""
    statement = (
        "EXPLAIN (FORMAT JSON) SELECT 1 FROM search_entry WHERE document @@ CAST(:said AS tsquery) "
        "UNION ALL SELECT 1 FROM search_entry"
    )
    hits, entries = uow.session.scalars(_typed(statement, {}), {"said": said}).one()[0]["Plan"]["Plans"]
    return int(hits["Plan Rows"]), int(entries["Plan Rows"])


def _few(uow: UnitOfWork, match: Match, past: Ranked | None, limit: int) -> list[Ranked] | None:
    """All hits ranked in one query, where they are few; None where there are more."""
    said = expression(match, None)
    if match.ids is None and _expected(uow, said)[0] > 2 * FEW:
        return None
    conditions, values = _conditions(match, None)
    for tier in (Tier.NAMED, Tier.NAME, Tier.HEADING):
        values[tier.name.lower()] = " & ".join(_words(match, match.words, tier))
    cases = " ".join(f"WHEN document @@ CAST(:{t.name.lower()} AS tsquery) THEN {int(t)}" for t in list(Tier)[:-1])
    statement = (
        "WITH hit AS MATERIALIZED (SELECT version_id, document FROM search_entry AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions} LIMIT {FEW + 1}), ranked AS (SELECT version_id, "
        f"CASE {cases} ELSE {int(Tier.ANYWHERE)} END AS tier FROM hit WHERE (SELECT count(*) FROM hit) <= {FEW}) "
        "SELECT (SELECT count(*) FROM hit), version_id, tier FROM (SELECT 1) AS one LEFT JOIN ranked "
        "ON tier > :tier OR tier = :tier AND version_id < :last ORDER BY tier, version_id DESC LIMIT :limit"
    )
    last, tier = (BEYOND_ALL, Tier.NAMED) if past is None else past
    values |= {"said": said, "last": last, "tier": int(tier), "limit": limit}
    rows = uow.session.execute(_typed(statement, values), values).all()
    if rows[0][0] > FEW:
        return None
    return [(key, Tier(rank)) for _, key, rank in rows if key is not None]


def _walk(
    uow: UnitOfWork, match: Match, said: str, tier: Tier | None, *, newest: bool, start: int, limit: int
) -> list[int]:
    """The hits among the next entries."""
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    conditions, values = _conditions(match, tier)
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


def _fetch(
    uow: UnitOfWork, match: Match, said: str, tier: Tier | None, *, newest: bool, start: int, limit: int
) -> list[int]:
    """The next hits by way of GIN: without an id in the inner query the planner has no other way."""
    order, side = ("DESC", "<") if newest else ("ASC", ">")
    conditions, values = _conditions(match, tier)
    if tier == Tier.NAMED:
        conditions += " AND name = :named"
        values["named"] = match.named.value
    statement = (
        "WITH hit AS MATERIALIZED (SELECT version_id FROM search_entry AS entry "
        f"WHERE document @@ CAST(:said AS tsquery) {conditions}) "
        f"SELECT version_id FROM hit WHERE version_id {side} :start ORDER BY version_id {order} LIMIT :limit"
    )
    values |= {"said": said, "start": start, "limit": limit}
    return list(uow.session.scalars(_typed(statement, values), values))


def _conditions(match: Match, tier: Tier | None) -> tuple[str, dict[str, Any]]:
    """What GIN is not asked for: compared words, shapes of names, ids and times; and the values of their parameters."""
    compared = _compared(match, tier)
    values: dict[str, Any] = {re.findall(":([a-z]+)", part)[0]: said for part, said in compared.items()}
    parts = list(compared)
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

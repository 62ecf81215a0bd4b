"""Both engines against a search that looks at every version: the same hits in the same order, page by page."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from benchmarks.catalog_rows import START, Catalog, load
from registry import InvalidQuery, Registry, Version
from registry.names import slug_of
from registry.search.query import Condition, Query, Term, parse_query, words_of
from registry.tables import EdgeRow, VersionRow

VERSIONS = {"sqlite": 1_500, "postgresql": 8_800}  # there, more than the entries that are walked one by one
STEP = 200  # ids reach over more windows than are looked into first
WORDS = 300
QUERIES = 45
PAGE = 41


@dataclass(frozen=True)
class Entry:
    """What the oracle looks at."""

    version: Version
    name: tuple[str, ...]
    heading: tuple[tuple[str, ...], ...]
    anywhere: tuple[tuple[str, ...], ...]
    bases: frozenset[str]


def _entries(registry: Registry) -> list[Entry]:
    found: list[Version] = []
    for state in ("draft", "published", "deprecated", "archived"):
        cursor: str | None = None
        while page := registry.page(state=state, limit=1_000, after=cursor):
            found += page.versions
            cursor = page.cursor
            if cursor is None:
                break
    with registry.database.reading() as uow:
        parent = select(EdgeRow.child_id, EdgeRow.parent_id).where(EdgeRow.relation == "adapter_of")
        edges = uow.session.execute(parent).all()
    names = {version.id: version.model for version in found}
    bases: dict[int, set[str]] = defaultdict(set)
    for child, base in edges:
        bases[child].add(names[base])
    return [_entry(version, frozenset(bases[version.id])) for version in sorted(found, key=lambda one: -one.id)]


def _entry(version: Version, bases: frozenset[str]) -> Entry:
    name, title = words_of(version.model), words_of(version.title)
    triggers = tuple(word for text in version.trigger_words for word in words_of(text))
    described = words_of(f"{version.description} {version.note or ''}")
    return Entry(version, name, (name, title, triggers), (name, title, triggers, described), bases)


def _has(term: Term, fields: Sequence[tuple[str, ...]]) -> bool:
    words = term.words
    for field in fields:
        for at in range(len(field) - len(words) + 1):
            *before, last = field[at : at + len(words)]
            if tuple(before) == words[:-1] and (last == words[-1] if term.exact else last.startswith(words[-1])):
                return True
    return False


def _looks(term: Term, version: Version) -> bool:
    """Whether name or title has the shape, by comparing from both ends; `*` alone is special."""
    return any(_alike(term.text.lower(), text.lower()) for text in (version.model, version.title))


def _alike(pattern: str, text: str) -> bool:
    head, *parts = pattern.split("*")
    if not parts:
        return pattern == text
    if not text.startswith(head) or not text[len(head) :].endswith(parts[-1]):
        return False
    at, end = len(head), len(text) - len(parts[-1])
    for part in parts[:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end


def _in_range(rank: int | None, said: str) -> bool:
    low, is_range, high = said.partition("..")
    return rank is not None and (int(low) <= rank <= int(high) if is_range else rank == int(low))


def _is_tagged(version: Version, said: str) -> bool:
    key, is_pair, value = said.partition("=")
    return version.tags.get(key) == value if is_pair else key in version.tags


def _is_hashed(version: Version, digits: str) -> bool:
    return any(digest.startswith(digits) for digest in (version.digest, *(file.sha256 for file in version.artifacts)))


CONDITIONS: dict[str, Callable[[Entry, str], bool]] = {
    "adapter": lambda entry, said: bool(entry.version.facts) and entry.version.facts["adapter"]["value"] == said,
    "alias": lambda entry, said: said in entry.version.aliases,
    "author": lambda entry, said: entry.version.author == said,
    "base": lambda entry, said: said in entry.bases,
    "family": lambda entry, said: entry.version.family == said,
    "hash": lambda entry, said: _is_hashed(entry.version, said),
    "kind": lambda entry, said: entry.version.kind == said,
    "license": lambda entry, said: entry.version.license == (None if said == "none" else said),
    "name": lambda entry, said: entry.version.model == said,
    "rank": lambda entry, said: _in_range((entry.version.facts or {}).get("rank"), said),
    "since": lambda entry, said: entry.version.created_at >= datetime.fromisoformat(said),
    "state": lambda entry, said: entry.version.state == said,
    "tag": lambda entry, said: _is_tagged(entry.version, said),
    "until": lambda entry, said: entry.version.created_at < datetime.fromisoformat(said),
}


def _meets(condition: Condition, entry: Entry) -> bool:
    meets = CONDITIONS[condition.key]
    return any(meets(entry, value) for value in condition.values) != condition.excluded


def _tier(query: Query, entry: Entry) -> int:
    words = [term for term in query.terms if not term.excluded and not term.is_pattern]
    named = entry.version.model == slug_of("-".join(term.text for term in words))
    for tier, fields in enumerate(([entry.name], [entry.name], entry.heading)):
        if all(_has(word, fields) for word in words) and (tier > 0 or named):
            return tier
    return 3


def _matching(query: Query, entries: list[Entry]) -> Iterator[Entry]:
    archived_too = query.says("state")
    for entry in entries:
        if not archived_too and entry.version.state == "archived":
            continue
        found = (_looks(term, entry.version) if term.is_pattern else _has(term, entry.anywhere) for term in query.terms)
        if all(_meets(condition, entry) for condition in query.conditions) and all(
            hit != term.excluded for hit, term in zip(found, query.terms, strict=True)
        ):
            yield entry


def _queries(draw: random.Random, entries: list[Entry]) -> Iterator[str]:
    for number in range(QUERIES):
        one, other = (draw.choice(entries).version for _ in range(2))
        word = draw.choice(words_of(f"{one.model} {one.title} {one.description}"))
        tag, unwanted = draw.choice(sorted(one.tags.items())), draw.choice(sorted(other.tags.items()))
        yield [
            word[: draw.randint(1, len(word))],
            f'"{" ".join(words_of(one.title)[:2])}"',
            f"{word} {draw.choice(words_of(other.title))}",
            one.model,
            f"*{one.model[1:5]}*",
            f"{one.model[:3]}*{one.model[-3:]} -{word}",
            f"tag:{tag[0]}={tag[1]} -tag:{unwanted[0]}={unwanted[1]}",
            f"{word} -tag:{unwanted[0]}={unwanted[1]} kind:style,base",
            f"family:{one.family or 'sd15'} -kind:{other.kind} license:{one.license or 'none'}",
            f"rank:16..64 state:{one.state}",
            f"base:{draw.choice(sorted(draw.choice(entries).bases) or [one.model])} adapter:locon,loha",
            f"author:{one.author} -author:{other.author}",
            f"hash:{one.digest[:9]}",
            f"alias:{(*one.aliases, 'production')[0]}",
            f"since:{one.created_at.isoformat()} until:{(one.created_at + timedelta(days=1)).isoformat()} {word[:1]}",
        ][number % 15]


@pytest.mark.both_databases
def test_every_query_finds_what_looking_at_every_version_finds(registry: Registry) -> None:
    versions = VERSIONS[registry.database.engine.dialect.name]
    load(registry.database.engine, Catalog(versions, seed=1, words=WORDS, step=STEP))
    entries = _entries(registry)
    assert len(entries) == versions
    assert entries[-1].version.created_at > START
    hits = 0
    for text in _queries(random.Random("queries"), entries):
        query = parse_query(text)
        expected = list(_matching(query, entries))
        hits += bool(expected)
        newest = [entry.version.id for entry in expected]
        assert _walked(registry, text, "newest", newest) == newest[: 3 * PAGE], text
        assert _walked(registry, text, "oldest", newest)[:PAGE] == newest[::-1][:PAGE], text
        ranked = sorted(expected, key=lambda entry: (_tier(query, entry), -entry.version.id))
        if any(term.is_pattern for term in query.terms) or not any(not term.excluded for term in query.terms):
            ranked = expected
        assert _walked(registry, text, "relevance", newest) == [e.version.id for e in ranked][: 3 * PAGE], text
        by_name = sorted(expected, key=lambda entry: (entry.version.model, entry.version.id))
        assert _walked(registry, text, "name", newest) == [e.version.id for e in by_name][: 3 * PAGE], text
        assert registry.count(text) == min(len(expected), 10_001), text
    assert hits > QUERIES * 0.8


def _walked(registry: Registry, text: str, sort: str, all_of_them: list[int]) -> list[int]:
    """Three pages, one after the other; the cursor ends where the hits do."""
    found: list[int] = []
    cursor: str | None = None
    for _ in range(3):
        page = registry.page(text, sort=sort, limit=PAGE, after=cursor)
        found += [version.id for version in page.versions]
        cursor = page.cursor
        if cursor is None:
            assert len(found) == len(all_of_them)
            break
    return found


def test_a_cursor_of_another_search_is_refused(registry: Registry) -> None:
    load(registry.database.engine, Catalog(30, seed=1, words=20))
    cursor = registry.page("kind:style", limit=1).cursor
    assert cursor is not None
    for change in ({"text": "kind:base"}, {"text": "kind:style", "sort": "name"}):
        with pytest.raises(InvalidQuery, match="of another search"):
            registry.page(**{"limit": 1, "after": cursor, **change})  # type: ignore[arg-type]
    with pytest.raises(InvalidQuery, match="expected the cursor"):
        registry.page(after="nonsense")
    with pytest.raises(InvalidQuery, match="orders by age"):
        registry.page(after=3, sort="name")


def test_a_count_stops_at_its_cap_and_says_so(registry: Registry) -> None:
    load(registry.database.engine, Catalog(30, seed=1, words=20))
    page = registry.page(limit=1, counted=True)
    with registry.database.reading() as uow:
        shown = VersionRow.state != "archived"
        assert page.count == len(uow.session.scalars(select(VersionRow.id).where(shown)).all())
    assert page.total == str(page.count)
    assert replace(page, count=10_001).total == "10,000+"
    assert registry.page(limit=1).count is None

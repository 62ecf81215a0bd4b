"""What a query comes down to on this catalog: facets of the index, words, shapes of names, and bounds on ids."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, Select, func, select, text, union
from sqlalchemy.orm import InstrumentedAttribute

from registry.errors import InvalidName, InvalidQuery
from registry.licenses import canonical_license
from registry.lineage import EXTERNAL
from registry.names import SLUG_PATTERN, slug_of
from registry.references import begins, find_model
from registry.search.query import STAR, Condition, Query, Term, words_of
from registry.states import State
from registry.tables import AdapterFactsRow, ArtifactRow, BlobHashRow, BlobRow, VersionRow
from registry.tables.search import LONGEST_VALUE
from registry.unit_of_work import UnitOfWork
from registry.values import Kind

NONE = "none"
RANGE = ".."
SHORTEST_HASH = 8
SHORTEST_SHAPE = 3
SAME_MOMENT = 1_000
"""Versions that may be written at the same moment: among so many, ids and times can be in different orders."""

HASHED_ALIKE = 1_000
"""Newest versions that one hash stands for at most: files such as empty configs are in many."""

MOST_ENDINGS = 32
"""Longer words that a beginning is spelled out as."""

HEXADECIMAL = frozenset("0123456789abcdef")
BOUNDS = ("hash", "since", "until")
"""Keys that are no facets."""

CLOSED: dict[str, list[str]] = {"kind": list(Kind), "state": list(State), "nsfw": ["yes", "no"]}


class Facet(NamedTuple):
    """One term of the index."""

    key: str
    value: str


LIVE = Facet("live", "")


class Tier(IntEnum):
    """How well the words of a search are met, the best first; within a tier the newest comes first."""

    NAMED = 0  # they make the model's whole name
    NAME = 1  # all are in the name
    HEADING = 2  # all are in the name, the title or the trigger words
    ANYWHERE = 3  # all are in these or in the description and note


Ranked = tuple[int, Tier]
"""A version's id and its tier."""


@dataclass(frozen=True)
class Match:
    """All of it must hold: any facet of each group, none of `barred`, every term, and the bounds.

    `ids` are the only versions that count, None where all do; `after` and `before` bound the id, both excluded.
    `endings`: all that the beginning of a word goes on with in this catalog, where an engine has asked for that.
    """

    groups: tuple[tuple[Facet, ...], ...]
    barred: tuple[Facet, ...] = ()
    terms: tuple[Term, ...] = ()
    ids: tuple[int, ...] | None = None
    after: int | None = None
    before: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    endings: Mapping[Term, tuple[str, ...]] = field(default_factory=dict)

    @property
    def words(self) -> tuple[Term, ...]:
        """The words and phrases that must be there."""
        return tuple(term for term in self.terms if not term.excluded and not term.is_pattern)

    @property
    def unwanted(self) -> tuple[Term, ...]:
        """The words and phrases that must not be there."""
        return tuple(term for term in self.terms if term.excluded and not term.is_pattern)

    @property
    def shapes(self) -> tuple[Term, ...]:
        """The patterns, wanted or not."""
        return tuple(term for term in self.terms if term.is_pattern)

    @property
    def is_empty(self) -> bool:
        """Whether it is plain already that nothing matches."""
        return self.ids == () or any(not group for group in self.groups) or any(not w.words for w in self.words)

    @property
    def named(self) -> Facet:
        """The model whose name the words make."""
        return Facet("name", slug_of("-".join(term.text for term in self.words)))


def match_of(uow: UnitOfWork, query: Query) -> Match:
    """What `query` means now. Raises InvalidName and InvalidQuery for values that a key cannot have."""
    _require_plain(str(query))
    wanted = [condition for condition in query.conditions if not condition.excluded]
    barred = [condition for condition in query.conditions if condition.excluded]
    groups: list[tuple[Facet, ...]] = [] if query.says("state") else [(LIVE,)]
    groups += [tuple(_facets(uow, condition)) for condition in wanted if condition.key not in BOUNDS]
    for term in query.terms:
        _require_shape(term)
    since, until = _moment(wanted, "since", max), _moment(wanted, "until", min)
    return Match(
        groups=tuple(groups),
        barred=tuple(facet for condition in barred for facet in _facets(uow, condition)),
        terms=query.terms,
        ids=_ids(uow, [value for condition in wanted if condition.key == "hash" for value in condition.values]),
        after=_first_id(uow, since),
        before=_last_id(uow, until),
        since=since,
        until=until,
    )


def _facets(uow: UnitOfWork, condition: Condition) -> Iterator[Facet]:
    """The facets that meet a condition: any of them does."""
    for value in condition.values:
        if condition.key in CLOSED:
            yield Facet(condition.key, require_known(value, CLOSED[condition.key], condition.key))
        elif condition.key == "base":
            yield from _base(uow, value)
        elif condition.key == "rank":
            yield from (Facet("rank", str(rank)) for rank in _ranks(uow, value))
        elif condition.key == "license":
            yield Facet("license", "" if value == NONE else canonical_license(value)[:LONGEST_VALUE])
        elif condition.key == "tag":
            key, is_pair, tagged = value.partition("=")
            yield Facet("value", f"{key}={tagged[:LONGEST_VALUE]}") if is_pair else Facet("tag", key)
        else:
            yield Facet(condition.key, _plain(condition.key, value))


def _plain(key: str, value: str) -> str:
    if key == "name" and not SLUG_PATTERN.fullmatch(value):
        raise InvalidQuery(f"name:{value}: expected a model's whole name. For a part of it leave `name:` out: {value}")
    return value[:LONGEST_VALUE]


def _base(uow: UnitOfWork, value: str) -> Iterator[Facet]:
    model = find_model(uow, value)
    if model is not None:
        yield Facet("base", str(model.id))
    yield Facet("outside", value.removeprefix(EXTERNAL)[:LONGEST_VALUE])


def _ranks(uow: UnitOfWork, value: str) -> list[int]:
    """The ranks that vectors of this catalog have between both ends, found by hopping along the index."""
    low, is_range, high = value.partition(RANGE)
    try:
        ends = (int(low or 0), int(high or 2**31 - 1) if is_range else int(low))
    except ValueError:
        raise InvalidQuery(f"rank:{value}: expected a number such as 64, or a range such as 16..64.") from None
    hops = text(
        "WITH RECURSIVE hop (rank) AS (SELECT min(rank) FROM adapter_facts WHERE rank >= :low UNION ALL "
        "SELECT (SELECT min(rank) FROM adapter_facts WHERE rank > hop.rank) FROM hop WHERE hop.rank < :high) "
        "SELECT rank FROM hop WHERE rank <= :high"
    )
    return list(uow.session.scalars(hops, {"low": ends[0], "high": ends[1]}))


def _require_plain(text: str) -> None:
    """No database keeps a NUL character or half a character, so nothing could be found by one."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidQuery(f"query {text!r}: holds a NUL character, or bytes that are no Unicode. Take them out.")


def _require_shape(term: Term) -> None:
    if term.is_pattern and not any(len(part) >= SHORTEST_SHAPE for part in term.text.split(STAR)):
        raise InvalidQuery(
            f"pattern {term.text!r}: expected {SHORTEST_SHAPE} characters in a row. "
            "A star at the end alone, as in pa*, needs none."
        )


def _moment(conditions: list[Condition], key: str, strictest: object) -> datetime | None:
    said = [_read_moment(key, value) for c in conditions if c.key == key for value in c.values]
    return strictest(said) if said else None  # type: ignore[operator]


def _read_moment(key: str, value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidQuery(f"{key}:{value}: expected a day such as 2025-03-01, or 2025-03-01T12:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _first_id(uow: UnitOfWork, since: datetime | None) -> int | None:
    """An id below which no version was made since then: ids follow time, but for versions of the same moment."""
    if since is None:
        return None
    bound = select(VersionRow.id).where(VersionRow.created_at >= since).order_by(VersionRow.created_at)
    first = uow.session.scalar(select(func.min(bound.limit(SAME_MOMENT).subquery().c.id)))
    return 2**62 if first is None else int(first) - 1


def _last_id(uow: UnitOfWork, until: datetime | None) -> int | None:
    if until is None:
        return None
    bound = select(VersionRow.id).where(VersionRow.created_at < until).order_by(VersionRow.created_at.desc())
    last = uow.session.scalar(select(func.max(bound.limit(SAME_MOMENT).subquery().c.id)))
    return 0 if last is None else int(last) + 1


def _ids(uow: UnitOfWork, prefixes: list[str]) -> tuple[int, ...] | None:
    """The newest versions that all the hash prefixes stand for, None where there is no prefix."""
    if not prefixes:
        return None
    found = [set(uow.session.scalars(_hashed(_digits(prefix)))) for prefix in prefixes]
    return tuple(sorted(set.intersection(*found), reverse=True))


def _digits(prefix: str) -> str:
    digits = prefix.lower().removeprefix("sha256:").removeprefix("blake3:").removeprefix("0x")
    if len(digits) < SHORTEST_HASH or not HEXADECIMAL.issuperset(digits):
        raise InvalidQuery(f"hash:{prefix}: expected {SHORTEST_HASH} hexadecimal digits or more.")
    return digits


def _hashed(digits: str) -> Select[int]:
    """The newest versions with a digest, or a file with a hash, that begins so."""
    own = [
        select(VersionRow.id).where(begins(VersionRow.digest, digits)),
        select(AdapterFactsRow.version_id).where(begins(AdapterFactsRow.layout_hash, digits)),
    ]
    with_file = select(ArtifactRow.version_id).where(ArtifactRow.blob_sha256.in_(_blobs(digits)))
    found = union(*own, with_file).subquery()
    return select(found.c.id).order_by(found.c.id.desc()).limit(HASHED_ALIKE)


def _blobs(digits: str) -> CompoundSelect[str]:
    columns: tuple[InstrumentedAttribute[str] | InstrumentedAttribute[str | None], ...] = (
        *(BlobRow.sha256, BlobRow.blake3, BlobRow.data_sha256, BlobRow.tensor_hash),
    )
    by_digest = [select(BlobRow.sha256).where(begins(column, digits)) for column in columns]
    return union(*by_digest, select(BlobHashRow.blob_sha256).where(begins(BlobHashRow.value, digits)))


def require_known(value: str, values: list[str], what: str) -> str:
    """`value` itself when it is one of `values`. Raises InvalidName otherwise."""
    if value not in values:
        raise InvalidName(f"{what} {value!r}: expected one of {', '.join(values)}.")
    return value


def with_endings(match: Match, shortest: int, longer: Callable[[dict[str, Any]], Sequence[str]]) -> Match:
    """`match` with all that its beginnings of so many letters go on with, nothing included, where that is not too much.

    `longer` finds the words between the bounds `first` and `last` in the vocabulary, at most `limit` of them.
    """
    found = {}
    for term in match.terms:
        *before, last = term.words or ("",)
        if term.exact or len(last) < shortest or not last.isascii():
            continue
        if words_of(f"{term.text.rstrip(STAR)}x") != (*before, f"{last}x"):
            continue
        words = longer({"first": f"{last}0", "last": f"{last}\U0010ffff", "limit": MOST_ENDINGS + 1})
        if len(words) <= MOST_ENDINGS:
            found[term] = ("", *(word.removeprefix(last) for word in words))
    return replace(match, endings=found)


def by_tier(find: Callable[[Tier, int | None, int], list[int]], past: Ranked | None, limit: int) -> list[Ranked]:
    """Tier after tier, the newest of each first; `find` takes a tier, the id beyond which to look, and a limit."""
    found: list[Ranked] = []
    last, first = (None, Tier.NAMED) if past is None else past
    for tier in list(Tier)[first:]:
        keys = find(tier, last if tier == first else None, limit - len(found))
        found += [(key, tier) for key in keys]
        if len(found) == limit:
            break
    return found


def like(shape: Term) -> str:
    """A pattern as LIKE has it: a star is anything, everything else is itself."""
    plain = shape.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return plain.replace(STAR, "%")

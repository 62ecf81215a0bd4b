"""The questions that the catalog is asked: seeded, words by Zipf, tags from one version to three in ten."""

import bisect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from benchmarks.catalog_rows import TAGS, TOP_SHARE, Vocabulary
from registry import Registry
from registry.tables import AliasPeriodRow, EdgeRow, ModelRow, VersionRow

PAGE = 50
DEPTH = 10
Question = Callable[[Registry], object]


@dataclass(frozen=True)
class Mix:
    """The questions of one class."""

    name: str
    questions: Sequence[Question]


def mixes(registry: Registry, versions: int, count: int, seed: int) -> list[Mix]:
    """`count` questions of every class, the same ones for the same catalog and seed."""
    vocabulary = Vocabulary(seed)
    draw = random.Random(f"questions {seed}")
    texts = [_text(vocabulary, draw) for _ in range(count)]
    filters = [_filter(vocabulary, draw, versions) for _ in range(count)]
    keys = [draw.randrange(1, versions + 1) for _ in range(count)]
    return [
        Mix("text search", [_page(said, "relevance") for said in texts]),
        Mix("filtered page", [_page(said, "newest") for said in filters]),
        Mix("text and filters", [_page(f"{a} {b}", "relevance") for a, b in zip(texts, filters, strict=True)]),
        Mix("capped count", [_count(said) for said in (*texts[: count // 2], *filters[: count // 2])]),
        Mix("alias", [_get(ref) for ref in _aliases(registry, draw, count)]),
        Mix("number", [_get(ref) for ref in _numbers(registry, keys)]),
        Mix("hash prefix", [_get(ref) for ref in _prefixes(registry, keys, draw)]),
        Mix(f"lineage, {DEPTH} deep", [_lineage(ref) for ref in _descended(registry, draw, count)]),
    ]


def _page(said: str, sort: str) -> Question:
    return lambda registry: registry.page(said, sort=sort, limit=PAGE)


def _count(said: str) -> Question:
    return lambda registry: registry.page(said, limit=1, counted=True)


def _get(ref: str) -> Question:
    return lambda registry: registry.get(ref)


def _lineage(ref: str) -> Question:
    return lambda registry: registry.lineage(ref, depth=DEPTH)


def _text(vocabulary: Vocabulary, draw: random.Random) -> str:
    """One word in six of ten, else two or three; in three of ten only the beginning of the last; phrases in one."""
    words = vocabulary.draw(draw, draw.choices([1, 2, 3], weights=[6, 3, 1])[0])
    chance = draw.random()
    if chance < 0.1:
        return f'"{" ".join(words)}"'
    if chance < 0.4:
        words[-1] = words[-1][: draw.randint(3, max(3, len(words[-1]) - 1))]
    return " ".join(words)


def _filter(vocabulary: Vocabulary, draw: random.Random, versions: int) -> str:
    """One to three tags, with an exclusion or two in half of the cases, a kind or family in three of ten."""
    parts = [f"tag:{tag}" for tag in _tags(vocabulary, draw, versions, draw.choices([1, 2, 3], weights=[4, 4, 2])[0])]
    if draw.random() < 0.5:
        parts += [f"-tag:{tag}" for tag in _tags(vocabulary, draw, versions, draw.randint(1, 2))]
    if draw.random() < 0.3:
        parts.append(draw.choice(["kind:style", "family:sdxl", "kind:composition", "family:sd15", "rank:64"]))
    return " ".join(parts)


def _tags(vocabulary: Vocabulary, draw: random.Random, versions: int, count: int) -> list[str]:
    """Tags of different keys whose shares are even on a logarithmic scale, from one version to the most frequent."""
    found = []
    for key in draw.sample(list(TAGS), count):
        share = math.exp(draw.uniform(math.log(1 / versions), math.log(TOP_SHARE)))
        shares = vocabulary.shares[key]
        place = bisect.bisect_left(shares, -share, key=lambda value: -value)
        found.append(f"{key}={vocabulary.values[key][min(place, len(shares) - 1)]}")
    return found


def _aliases(registry: Registry, draw: random.Random, count: int) -> list[str]:
    with registry.database.reading() as uow:
        newest = uow.session.scalars(select(AliasPeriodRow.id).order_by(AliasPeriodRow.id.desc()).limit(1)).one()
        keys = [draw.randrange(1, newest + 1) for _ in range(count)]
        query = select(ModelRow.slug, AliasPeriodRow.name).join(ModelRow, ModelRow.id == AliasPeriodRow.model_id)
        return [f"{slug}@{name}" for slug, name in uow.session.execute(query.where(AliasPeriodRow.id.in_(keys)))]


def _numbers(registry: Registry, keys: Sequence[int]) -> list[str]:
    with registry.database.reading() as uow:
        query = select(ModelRow.slug, VersionRow.number).join(ModelRow).where(VersionRow.id.in_(keys))
        return [f"{slug}:{number}" for slug, number in uow.session.execute(query)]


def _prefixes(registry: Registry, keys: Sequence[int], draw: random.Random) -> list[str]:
    with registry.database.reading() as uow:
        digests = uow.session.scalars(select(VersionRow.digest).where(VersionRow.id.in_(keys))).all()
    return [f"sha256:{digest[: draw.randint(10, 16)]}" for digest in digests]


def _descended(registry: Registry, draw: random.Random, count: int) -> list[str]:
    """Compositions in nine of ten cases, else the bases that most versions belong to."""
    made, used = EdgeRow.relation == "composed_from", EdgeRow.relation == "adapter_of"
    with registry.database.reading() as uow:
        last = uow.session.scalars(select(EdgeRow.id).order_by(EdgeRow.id.desc()).limit(1)).one()
        keys = [draw.randrange(1, last + 1) for _ in range(20 * count)]
        children = uow.session.scalars(select(EdgeRow.child_id).where(EdgeRow.id.in_(keys), made).limit(count)).all()
        parents = uow.session.scalars(select(EdgeRow.parent_id).where(EdgeRow.id.in_(keys), used).limit(count)).all()
        chosen = [*children[: count - count // 10], *parents[: count // 10]]
        query = select(ModelRow.slug, VersionRow.number).join(ModelRow).where(VersionRow.id.in_(chosen))
        return [f"{slug}:{number}" for slug, number in uow.session.execute(query)]

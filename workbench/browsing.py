"""Browsing the catalog: filters as conditions of the query language, and a page with everything that its cards show."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry import Page, Preview, Registry

TAGS_OFFERED = 40

KINDS = ("style", "acceleration", "composition", "base", "other")
STATES = ("draft", "published", "deprecated", "archived")
LICENSES = (
    *("openrail++", "creativeml-openrail-m", "faipl-1.0-sd", "apache-2.0", "mit"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "other", "none"),
)
"""What weights in this field are mostly under, and none, which is no stated licence."""

ALL_OF_THEM = frozenset({"tag"})
"""Keys of which a version can have several values: all that are wanted must be there. Of the others any one will do."""


@dataclass(frozen=True, order=True)
class Filter:
    """A condition that a version has to meet, or with `excluded` must not meet."""

    key: str
    value: str
    excluded: bool = False


@dataclass(frozen=True)
class Browsed:
    """A page of versions; `covers` are their pictures by reference, `favourites` the models that the reader keeps."""

    page: "Page"
    covers: Mapping[str, "Preview"] = field(default_factory=dict)
    favourites: frozenset[str] = frozenset()


def filtered_query(text: str, filters: Iterable[Filter]) -> str:
    """What is searched for, in the query language: `text`, and every filter.

    Raises InvalidQuery for a text that is no query, and for a value that cannot stand beside others.
    """
    from registry.search.query import Condition, Query, parse_query

    said = parse_query(text)
    conditions = [*said.conditions]
    ordered = sorted(set(filters))
    for (key, excluded), group in groupby(ordered, lambda one: (one.key, one.excluded)):
        values = tuple(one.value for one in group)
        several = [values] if key not in ALL_OF_THEM and not excluded else [(value,) for value in values]
        conditions += [Condition(key, one, excluded) for one in several]
    query = Query(said.terms, tuple(conditions))
    _require_same(query)
    return str(query)


def browse(
    registry: "Registry",
    query: str,
    *,
    sort: str = "newest",
    limit: int = 50,
    after: str | int | None = None,
    counted: bool = False,
) -> Browsed:
    """A page of what `query` finds with its pictures: four questions to the database, however many versions it has.

    Raises what `Registry.page` raises.
    """
    from registry.covers import covers, favourite_models

    page = registry.page(query, sort=sort, limit=limit, after=after, counted=counted)
    if not page.versions:
        return Browsed(page)
    kept = favourite_models(registry.database, (version.model for version in page.versions))
    return Browsed(page, covers(registry.database, page.versions), kept)


def is_empty(registry: "Registry") -> bool:
    """Whether nothing was ever registered, or all of it is removed."""
    from registry.covers import has_versions

    return not has_versions(registry.database)


def is_favourite(registry: "Registry", model: str) -> bool:
    """Whether the reader keeps a model at hand."""
    from registry.covers import favourite_models

    return model in favourite_models(registry.database, [model])


def filter_values(registry: "Registry") -> dict[str, tuple[str, ...]]:
    """What can be filtered by: key -> values, those of this catalog included."""
    from formats import known_architectures
    from registry.covers import families_of_bases, tag_keys

    shipped = known_architectures()
    own = [name for name in families_of_bases(registry.database) if name not in shipped]
    return {
        "kind": KINDS,
        "family": (*own, *shipped, "unknown"),
        "state": STATES,
        "license": LICENSES,
        "tag": tuple(tag_keys(registry.database, TAGS_OFFERED)),
        "nsfw": ("yes",),
        "favourite": (registry.database.actor,),
    }


def _require_same(query: object) -> None:
    """Refuse what would be read back as something else: a list of values cannot hold one with a comma or a quote."""
    from registry import InvalidQuery
    from registry.search.query import parse_query

    if parse_query(str(query)) != query:
        raise InvalidQuery(f"filters {query}: a value with a comma, space or quote cannot be one of several.")

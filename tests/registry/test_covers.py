from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event

from registry import Registry
from registry.covers import covers, families_of_bases, favourite_models, tag_keys

pytestmark = pytest.mark.both_databases


@pytest.fixture
def painted(registry: Registry, write_vector: Callable[..., Path]) -> Registry:
    """A style with two pictures, one without, and a composition whose recipe has one."""
    registry.add(write_vector("a", seed=1), kind="style")
    registry.add(write_vector("b", seed=2), kind="style")
    recipe = registry.add_recipe("1.0*a", "1.0*sha256:11", "ab" * 32)
    registry.add(write_vector("c", seed=3), kind="composition", recipe=recipe.sha256)
    for content in (b"first", b"second"):
        registry.add_preview("a:1", {"seed": 1}, content, {})
    registry.add_preview(recipe.sha256, {"seed": 2}, b"of the recipe", {})
    return registry


def test_a_cover_is_the_newest_picture_of_the_version_or_of_its_recipe(painted: Registry) -> None:
    found = covers(painted.database, painted.search())
    assert found == {"a:1": painted.previews("a:1")[0], "c:1": painted.previews("ab" * 32)[0]}


def test_a_composition_with_a_picture_of_its_own_shows_that(painted: Registry) -> None:
    own = painted.add_preview("c:1", {}, b"its own", {})
    assert covers(painted.database, painted.search())["c:1"].picture == own.picture


def test_the_covers_of_a_page_are_one_question(painted: Registry) -> None:
    asked: list[str] = []
    versions = painted.search()
    event.listen(painted.database.engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    covers(painted.database, versions)
    assert len([statement for statement in asked if statement.startswith("SELECT")]) == 1


def test_favourites_are_those_of_the_one_who_asks(painted: Registry) -> None:
    painted.favourite("a")
    painted.favourite("b", principal="bob")
    assert favourite_models(painted.database, ["a", "b", "c"]) == {"a"}
    assert favourite_models(painted.database, ["a", "b", "c"], "bob") == {"b"}
    assert favourite_models(painted.database, ["c"]) == frozenset()


def test_the_keys_of_tags_come_once_each(painted: Registry) -> None:
    assert tag_keys(painted.database, 10) == []
    for ref, key in (("a:1", "print"), ("b:1", "print"), ("b:1", "approved"), ("c:1", "style")):
        painted.tag(ref, key, ref)
    assert tag_keys(painted.database, 10) == ["approved", "print", "style"]
    assert tag_keys(painted.database, 2) == ["approved", "print"]


def test_families_are_those_that_bases_brought(registry: Registry, write_base: Callable[..., Path]) -> None:
    assert families_of_bases(registry.database) == ()
    registry.add(write_base("tiny"), kind="base", name="tiny")
    assert families_of_bases(registry.database) == tuple(table.name for table in registry.architectures())

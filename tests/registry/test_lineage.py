from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import InvalidName, InvalidReference, LineageCycle, NotFound, Parent, Registry

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]


@pytest.fixture
def note(registry: Registry, tmp_path: Path) -> Callable[..., str]:
    """note(name, *parents) -> the reference of a small version that came from them."""

    def write(name: str, *parents: str) -> str:
        path = tmp_path / f"{name}.txt"
        path.write_text(name)
        edges = [Parent(parent, "composed_from", 0.5, place) for place, parent in enumerate(parents)]
        return registry.add(path, kind="other", name=name, edges=edges).ref

    return write


def test_lineage_walks_up_and_down_and_names_the_other_parents_of_what_it_meets(
    registry: Registry, note: Callable[..., str]
) -> None:
    note("base")
    note("style", "base")
    note("speed")
    note("sum", "style", "speed")
    note("elsewhere", "speed")
    found = registry.lineage("style")
    assert {node.ref for node in found.nodes} == {"base:1", "style:1", "sum:1", "speed:1"}
    assert {(edge.child, edge.parent, edge.weight, edge.position) for edge in found.edges} == {
        ("style:1", "base:1", 0.5, 0),
        ("sum:1", "style:1", 0.5, 0),
        ("sum:1", "speed:1", 0.5, 1),
    }


def test_a_version_alone_is_its_own_lineage(registry: Registry, note: Callable[..., str]) -> None:
    note("alone")
    found = registry.lineage("alone")
    assert ([node.ref for node in found.nodes], found.edges) == (["alone:1"], ())


def test_a_diamond_is_walked_once(registry: Registry, note: Callable[..., str]) -> None:
    note("top")
    note("left", "top")
    note("right", "top")
    note("bottom", "left", "right")
    found = registry.lineage("bottom")
    assert (len(found.nodes), len(found.edges)) == (4, 4)


def test_a_long_chain_is_walked_to_its_end(registry: Registry, note: Callable[..., str]) -> None:
    note("v0")
    for number in range(1, 30):
        note(f"v{number}", f"v{number - 1}")
    assert len(registry.lineage("v0").nodes) == len(registry.lineage("v29").nodes) == 30


def test_an_edge_that_closes_a_circle_is_refused(registry: Registry, note: Callable[..., str]) -> None:
    note("one")
    note("two", "one")
    note("three", "two")
    for child, parent in (("one", "three"), ("one", "two"), ("one", "one")):
        with pytest.raises(LineageCycle, match="cannot be its parent"):
            registry.link(child, parent, "supersedes")
    assert len(registry.lineage("one").edges) == 2


def test_linking_twice_is_linking_once_and_a_position_tells_two_uses_apart(
    registry: Registry, note: Callable[..., str]
) -> None:
    note("part")
    note("sum")
    for position in (0, 0, 1):
        registry.link("sum", "part", "composed_from", 0.3, position)
    assert [edge.position for edge in registry.lineage("sum").edges] == [0, 1]


def test_data_sets_jobs_and_things_outside_can_be_parents(registry: Registry, note: Callable[..., str]) -> None:
    note("style")
    data = registry.add_dataset("shapes", "ab" * 32, "file:///shapes", "cc0-1.0")
    registry.link("style", data.ref, "trained_on")
    registry.link("style", "external:someone/sd15", "adapter_of")
    found = registry.lineage("style")
    assert {(node.ref, node.kind) for node in found.nodes} == {
        ("style:1", "other"),
        (data.ref, "dataset"),
        ("external:someone/sd15", "external"),
    }


def test_a_data_set_is_named_by_name_and_the_beginning_of_its_fingerprint(
    registry: Registry, note: Callable[..., str]
) -> None:
    old = registry.add_dataset("shapes", "ab" * 32, "file:///shapes")
    new = registry.add_dataset("shapes", "cd" * 32, "file:///shapes")
    assert registry.add_dataset("shapes", "ab" * 32, "file:///shapes") == old
    note("style")
    registry.link("style", "dataset:shapes", "trained_on", position=0)
    registry.link("style", old.ref, "trained_on", position=1)
    assert [edge.parent for edge in registry.lineage("style").edges] == [new.ref, old.ref]


@pytest.mark.parametrize(
    ("parent", "error"),
    [
        ("dataset:none", NotFound),
        ("job:99", NotFound),
        ("job:x", NotFound),
        ("external:", InvalidReference),
        ("nobody", NotFound),
    ],
)
def test_a_parent_that_is_not_there_is_refused(
    registry: Registry, note: Callable[..., str], parent: str, error: type[Exception]
) -> None:
    note("style")
    with pytest.raises(error):
        registry.link("style", parent, "trained_on")


def test_an_unknown_relation_is_refused(registry: Registry, note: Callable[..., str]) -> None:
    note("style")
    with pytest.raises(InvalidName, match="expected one of adapter_of"):
        registry.link("style", "external:x", "friend_of")


def test_the_database_itself_refuses_an_edge_with_no_parent_or_two(
    registry: Registry, note: Callable[..., str]
) -> None:
    note("style")
    columns = "child_id, parent_id, external, relation, position, created_at"
    insert = f"INSERT INTO edge ({columns}) VALUES (1, {{}}, 'teacher', 0, '2026-01-01T00:00:00Z')"
    for parents in ("NULL, NULL", "1, 'x'"):
        with registry.database.writing() as uow, pytest.raises(IntegrityError, match="has_one_parent"):
            uow.session.execute(text(insert.format(parents)))


def test_a_parent_cannot_be_deleted(registry: Registry, tmp_path: Path) -> None:
    for name in ("parent", "child"):
        (tmp_path / f"{name}.txt").write_text(name)
        registry.add(tmp_path / f"{name}.txt", kind="other", draft=True)
    registry.link("child", "parent", "supersedes")
    parent = registry.get("parent").id
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        uow.session.execute(text("DELETE FROM version WHERE id = :id"), {"id": parent})

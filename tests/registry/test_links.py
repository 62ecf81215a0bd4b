"""What a person says about where versions came from, and takes back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import Conflict, InvalidName, LineageCycle, NotFound, Parent, Refused, Registry
from registry.links import STATED, WRITTEN_BY_WORK, connect, disconnect

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]


@pytest.fixture
def stocked(registry: Registry, write_vector: Write, write_base: Write) -> Registry:
    """A base called tiny, and a published vector called papercut that belongs to none."""
    registry.add(write_base(), kind="base", name="tiny")
    registry.add(write_vector(), kind="style", name="papercut")
    return registry


def edges(registry: Registry) -> list[tuple[str, str, float | None]]:
    """What papercut came from."""
    return [(edge.relation, edge.parent, edge.weight) for edge in registry.lineage("papercut").edges]


def test_a_base_is_named_and_taken_back_with_history_and_search_follows(stocked: Registry) -> None:
    connect(stocked.database, "papercut", Parent("tiny", "adapter_of"))
    assert edges(stocked) == [("adapter_of", "tiny:1", None)]
    assert [version.ref for version in stocked.search("base:tiny")] == ["papercut:1"]
    disconnect(stocked.database, "papercut", "tiny", "adapter_of")
    assert (edges(stocked), stocked.search("base:tiny")) == ([], [])
    linked, unlinked = stocked.history("papercut")[-2:]
    assert (linked.action, linked.after["parent"]) == ("linked", "tiny")
    assert (unlinked.action, unlinked.before["relation"]) == ("unlinked", "adapter_of")
    connect(stocked.database, "papercut", Parent("external:somewhere/else", "adapter_of"))
    disconnect(stocked.database, "papercut", "external:somewhere/else", "adapter_of")
    assert edges(stocked) == []


def test_a_dry_run_writes_nothing(stocked: Registry) -> None:
    before = stocked.history("papercut")
    connect(stocked.database, "papercut", Parent("tiny", "adapter_of"), dry_run=True)
    assert (edges(stocked), stocked.history("papercut")) == ([], before)
    connect(stocked.database, "papercut", Parent("tiny", "adapter_of"))
    disconnect(stocked.database, "papercut", "tiny", "adapter_of", dry_run=True)
    assert edges(stocked) == [("adapter_of", "tiny:1", None)]


def test_saying_it_again_changes_nothing_and_another_weight_is_a_conflict(stocked: Registry) -> None:
    for _ in range(2):
        connect(stocked.database, "papercut", Parent("tiny", "adapter_of", 0.5))
    assert edges(stocked) == [("adapter_of", "tiny:1", 0.5)]
    with pytest.raises(Conflict, match=r"with weight 0\.5, got 0\.7"):
        connect(stocked.database, "papercut", Parent("tiny", "adapter_of", 0.7))


@pytest.mark.parametrize("relation", WRITTEN_BY_WORK)
def test_what_work_writes_is_neither_said_nor_taken_back_by_hand(stocked: Registry, relation: str) -> None:
    with pytest.raises(Refused, match="written by compositions and jobs"):
        connect(stocked.database, "papercut", Parent("tiny", relation))
    with pytest.raises(Refused, match="written by compositions and jobs"):
        disconnect(stocked.database, "papercut", "tiny", relation)


@pytest.mark.parametrize("relation", [one for one in STATED if one != "adapter_of"])
def test_how_something_was_made_stays_on_record(stocked: Registry, relation: str) -> None:
    connect(stocked.database, "papercut", Parent("tiny", relation))
    with pytest.raises(Refused, match="Only adapter_of can be taken back"):
        disconnect(stocked.database, "papercut", "tiny", relation)
    assert edges(stocked) == [(relation, "tiny:1", None)]


def test_the_base_of_a_composition_stays_as_the_composition_wrote_it(
    stocked: Registry, write_vector: Callable[..., Path]
) -> None:
    parents = [Parent("papercut", "composed_from", 0.5)]
    stocked.add(write_vector(), kind="composition", name="sum", base="tiny", edges=parents)
    with pytest.raises(Refused, match="written by the composition"):
        disconnect(stocked.database, "sum", "tiny", "adapter_of")


@pytest.mark.parametrize(
    ("child", "parent", "relation", "error", "words"),
    [
        ("papercut", "nothing", "adapter_of", NotFound, "nothing"),
        ("papercut", "papercut", "resized_from", LineageCycle, "itself"),
        ("papercut", "tiny", "made_of", InvalidName, "expected one of adapter_of"),
        ("tiny", "external:x", "adapter_of", Refused, "a base itself"),
        ("papercut", "papercut", "adapter_of", Refused, "expected a base"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_no_edge(
    stocked: Registry, child: str, parent: str, relation: str, error: Any, words: str
) -> None:
    with pytest.raises(error, match=words):
        connect(stocked.database, child, Parent(parent, relation))
    assert edges(stocked) == []


def test_a_cycle_is_refused_however_long(stocked: Registry) -> None:
    connect(stocked.database, "papercut", Parent("tiny", "adapter_of"))
    with pytest.raises(LineageCycle, match="comes from tiny:1 itself"):
        connect(stocked.database, "tiny", Parent("papercut", "converted_from"))


def test_what_is_not_there_cannot_be_taken_back(stocked: Registry) -> None:
    with pytest.raises(NotFound, match=r"no edge adapter_of to tiny.*tau lineage papercut:1"):
        disconnect(stocked.database, "papercut", "tiny", "adapter_of")

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Conflict, CorruptBlob, NotFound, Parent, Refused, Registry
from registry.errors import Removed

Write = Callable[..., Path]
pytestmark = pytest.mark.both_databases


def note(registry: Registry, folder: Path, text: str, name: str = "note", **said: object) -> str:
    """Register a text; its reference."""
    path = folder / f"{name}.txt"
    path.write_text(text)
    return registry.add(path, kind="other", name=name, **said).ref  # type: ignore[arg-type]


def test_a_removed_version_is_hidden_everywhere_but_keeps_its_number_and_history(
    registry: Registry, tmp_path: Path
) -> None:
    first, second = (note(registry, tmp_path, text) for text in ("one", "two"))
    digest = registry.get(second).digest
    registry.remove(second)
    assert registry.get("note").ref == first
    assert [version.ref for version in registry.search()] == [first]
    for ref in (second, f"sha256:{digest}", f"sha256:{digest[:10]}"):
        with pytest.raises(Removed, match=r"note:2 was removed by ann on .*tau restore note:2"):
            registry.get(ref)
    assert [event.action for event in registry.history("note")][-1] == "removed"
    assert note(registry, tmp_path, "three") == "note:3"


def test_a_model_whose_versions_are_all_removed_offers_none(registry: Registry, tmp_path: Path) -> None:
    registry.remove(note(registry, tmp_path, "one"))
    with pytest.raises(NotFound, match="archived or removed"):
        registry.get("note")
    assert registry.search() == []


def test_a_version_comes_back_as_it_was(registry: Registry, tmp_path: Path) -> None:
    ref = note(registry, tmp_path, "one", tags={"approved": "yes"})
    before = registry.get(ref)
    registry.remove(ref)
    assert registry.removed(ref) == registry.removed("note") == registry.removed(f"sha256:{before.digest[:12]}")
    assert registry.restore(ref) == before
    assert registry.get("note") == before
    assert registry.file(before).read_text() == "one"
    assert [event.action for event in registry.history("note")][-2:] == ["removed", "restored"]
    assert registry.restore(ref) == before


def test_bytes_that_were_collected_come_back_from_the_original(keeper: Registry, tmp_path: Path) -> None:
    ref = note(keeper, tmp_path, "one")
    original = tmp_path / "original.txt"
    original.write_text("one")
    keeper.remove(ref)
    keeper.storage.gc(grace=0)
    with pytest.raises(CorruptBlob, match="tau restore note:1 --from FILE"):
        keeper.restore(ref)
    (tmp_path / "other.txt").write_text("another")
    with pytest.raises(Refused, match="the content of note:1"):
        keeper.restore(ref, tmp_path / "other.txt")
    assert keeper.restore(ref, original).ref == ref
    assert keeper.file(keeper.get(ref)).read_text() == "one"
    assert keeper.storage.gc(grace=0).bytes == 0
    assert keeper.storage.check(deep=True, grace=0).ok


def test_what_was_marked_for_deletion_but_is_still_there_comes_back_by_itself(keeper: Registry, tmp_path: Path) -> None:
    from sqlalchemy import update

    from registry.tables import BlobRow

    ref = note(keeper, tmp_path, "one")
    keeper.remove(ref)
    with keeper.database.writing() as uow:
        uow.session.execute(update(BlobRow).values(state="deleting"))
        uow.commit()
    keeper.restore(ref)
    assert keeper.storage.gc(grace=0).bytes == 0
    assert keeper.file(keeper.get(ref)).read_text() == "one"


def test_importing_removed_content_again_is_a_conflict_that_names_the_way_back(
    registry: Registry, tmp_path: Path, stored_files: Callable[[], set[str]]
) -> None:
    ref = note(registry, tmp_path, "one")
    registry.remove(ref)
    registry.storage.gc(grace=0)
    with pytest.raises(Conflict, match=r"note:1 has this content and was removed by ann\. .*tau restore note:1 --from"):
        note(registry, tmp_path, "one")
    assert stored_files() == set()


def test_what_an_alias_means_or_others_came_from_is_not_removed(registry: Registry, tmp_path: Path) -> None:
    parent = note(registry, tmp_path, "parent", "parent")
    child = note(registry, tmp_path, "child", "child", edges=[Parent(parent, "resized_from")])
    with pytest.raises(Conflict, match=r"parent:1: child:1 came from it\. Remove what came from it first"):
        registry.remove(parent)
    registry.alias(child, "production")
    with pytest.raises(Conflict, match="child:1 is what child@production means"):
        registry.remove_all([parent, child])
    assert registry.get(parent).ref == parent
    registry.unalias(child, "production")
    assert [version.ref for version in registry.remove_all([parent, child], dry_run=True)] == [child, parent]
    assert registry.get(child).ref == child
    registry.remove_all([parent, child])
    with pytest.raises(Removed):
        registry.get(parent)


def test_versions_go_together_whichever_of_them_is_older(registry: Registry, tmp_path: Path) -> None:
    child, parent = note(registry, tmp_path, "child", "child"), note(registry, tmp_path, "parent", "parent")
    registry.link(child, parent, "resized_from")
    with pytest.raises(Conflict, match="child:1 came from it"):
        registry.remove(parent)
    registry.remove_all([parent, child])
    with pytest.raises(Removed):
        registry.get(child)


def test_a_successor_does_not_hold_its_predecessor(registry: Registry, tmp_path: Path) -> None:
    old = note(registry, tmp_path, "old")
    note(registry, tmp_path, "new", edges=[Parent(old, "supersedes")])
    registry.remove(old)
    with pytest.raises(Removed):
        registry.get(old)


def test_a_child_cannot_come_back_before_what_it_came_from(registry: Registry, tmp_path: Path) -> None:
    parent = note(registry, tmp_path, "parent", "parent")
    child = note(registry, tmp_path, "child", "child", edges=[Parent(parent, "resized_from")])
    registry.remove_all([parent, child])
    with pytest.raises(Conflict, match=r"child:1 came from parent:1, which is removed.*tau restore parent:1"):
        registry.restore(child)
    registry.restore(parent)
    assert registry.restore(child).ref == child


def test_lineage_shows_what_was_removed_as_removed(registry: Registry, tmp_path: Path) -> None:
    parent = note(registry, tmp_path, "parent", "parent")
    child = note(registry, tmp_path, "child", "child", edges=[Parent(parent, "resized_from")])
    registry.remove(child)
    assert {node.ref: node.state for node in registry.lineage(parent).nodes} == {parent: "published", child: "removed"}


def test_a_removed_base_is_offered_to_nobody(registry: Registry, write_base: Write) -> None:
    base = registry.add(write_base(), kind="base")
    registry.remove(base.ref)
    assert registry.bases("tiny") == []


@pytest.mark.parametrize("ref", ["note:7", "nothing", "sha256:0123456789"])
def test_what_was_never_removed_cannot_be_restored(registry: Registry, tmp_path: Path, ref: str) -> None:
    note(registry, tmp_path, "one")
    with pytest.raises(NotFound):
        registry.restore(ref)

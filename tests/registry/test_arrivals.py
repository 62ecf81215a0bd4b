"""Many things registered at once: one transaction, every refusal its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from formats import identify
from registry import Kind, Registry
from registry.arrivals import Arrival, Arrived, add_arrivals, version_holding
from registry.blobs.staging import FileStatus
from registry.submission import Submission

Write = Callable[..., Path]
Stored = Callable[[], set[str]]
pytestmark = pytest.mark.both_databases


@pytest.fixture
def arrive(registry: Registry, write_base: Write) -> Callable[..., list[Arrived]]:
    """arrive(path, ..., name="papercut", kind="style") registers paths at once, all wishing for one name."""
    registry.add(write_base(), kind="base")

    def one(path: Path, name: str, kind: str) -> Arrival:
        found = identify(path, architectures=registry.architectures())
        said = Submission(kind=Kind(kind), name=name)
        return Arrival(path, said, found, {str(path): FileStatus.of(path)}, path.parent.name)

    def arrive(*paths: Path, name: str = "papercut", kind: str = "style") -> list[Arrived]:
        return add_arrivals(registry.database, registry.store, [one(path, name, kind) for path in paths])

    return arrive


def test_names_that_are_taken_get_the_folder_before_them_and_then_a_number(
    arrive: Callable[..., list[Arrived]], write_vector: Write
) -> None:
    paths = [write_vector(f"file-{seed}", seed=seed) for seed in range(4)]
    assert [one.ref for one in arrive(*paths)] == ["papercut:1", "files-papercut:1", "papercut-2:1", "papercut-3:1"]


def test_the_same_bytes_twice_in_one_batch_are_one_version(
    arrive: Callable[..., list[Arrived]], write_vector: Write, registry: Registry
) -> None:
    first, second = arrive(write_vector("a", seed=1), write_vector("b", seed=1))
    assert (first.ref, first.is_new, second.ref, second.is_new) == ("papercut:1", True, "papercut:1", False)
    assert first.digests == second.digests
    assert [version.ref for version in registry.search(kind="style")] == ["papercut:1"]


def test_a_path_that_brought_something_before_brings_the_next_version(
    arrive: Callable[..., list[Arrived]], write_vector: Write
) -> None:
    arrive(write_vector("same", seed=1))
    assert [one.ref for one in arrive(write_vector("same", seed=2))] == ["papercut:2"]


def test_one_that_is_refused_inside_the_transaction_takes_nothing_with_it(
    arrive: Callable[..., list[Arrived]], write_vector: Write, registry: Registry, stored_files: Stored
) -> None:
    arrive(write_vector("gone", seed=1))
    registry.remove("papercut")
    before = stored_files()
    good, bad, better = arrive(write_vector("x", seed=2), write_vector("y", seed=1), write_vector("z", seed=3))
    assert (bad.ref, "removed as papercut:1" in bad.error) == (None, True)
    assert (good.is_new, better.is_new) == (True, True)
    assert len(stored_files() - before) == 2


def test_a_file_that_changes_after_it_was_identified_is_refused(
    registry: Registry, arrive: Callable[..., list[Arrived]], write_vector: Write, stored_files: Stored
) -> None:
    path = write_vector("a", seed=1)
    found = identify(path, architectures=registry.architectures())
    seen = {str(path): FileStatus.of(path)}
    write_vector("a", seed=2, metadata={"longer": "now"})
    before = stored_files()
    (one,) = add_arrivals(
        registry.database,
        registry.store,
        [Arrival(path, Submission(kind=Kind.STYLE, name="a"), found, seen)],
    )
    assert (one.ref, "changed while it was read" in one.error) == (None, True)
    assert stored_files() == before


def test_a_file_belongs_to_the_version_that_came_from_its_path(
    arrive: Callable[..., list[Arrived]], write_vector: Write, registry: Registry
) -> None:
    path = write_vector("a", seed=1)
    other = registry.add(write_vector("b", seed=1), kind="style", name="other")
    registry.add(path, kind="style", name="own")
    sha256 = other.artifacts[0].sha256
    assert version_holding(registry.database, sha256, str(path)) == "own:1"
    assert version_holding(registry.database, sha256, "/elsewhere") == "other:1"
    assert version_holding(registry.database, "0" * 64, str(path)) is None

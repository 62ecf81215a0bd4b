import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import CorruptBlob, NotFound, Registry
from registry.blobs.staging import FileStatus
from registry.known_files import known_files, remember

pytestmark = pytest.mark.both_databases


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder of three notes, two of them of one size."""
    folder = tmp_path / "library"
    folder.mkdir()
    for name, content in (("one", "1st"), ("two", "2nd"), ("three", "third")):
        (folder / f"{name}.txt").write_text(content)
    return folder


@pytest.fixture
def cataloged(registry: Registry, library: Path) -> dict[str, str]:
    """The three notes, registered in place: name -> sha256."""
    added = {path.stem: registry.add(path, kind="other", in_place=True) for path in sorted(library.iterdir())}
    return {name: version.artifacts[0].sha256 for name, version in added.items()}


def test_moved_and_renamed_files_are_found_by_what_they_hold(
    registry: Registry, library: Path, cataloged: dict[str, str], tmp_path: Path
) -> None:
    moved = library.rename(tmp_path / "moved")
    (moved / "deep").mkdir()
    (moved / "one.txt").rename(moved / "deep" / "another name.txt")
    (moved / "decoy.txt").write_text("3rd")
    with pytest.raises(CorruptBlob, match="tau relink FOLDER"):
        registry.blob_path(cataloged["one"])
    found = registry.storage.relink(moved)
    assert {Path(old).name: Path(new).name for old, new in found.moved} == {
        "one.txt": "another name.txt",
        "two.txt": "two.txt",
        "three.txt": "three.txt",
    }
    assert (found.missing, found.seen) == ((), 4)
    assert registry.blob_path(cataloged["one"]).read_text() == "1st"
    assert registry.storage.check(deep=True).ok


def test_a_dry_run_says_the_same_and_changes_nothing(
    registry: Registry, library: Path, cataloged: dict[str, str], tmp_path: Path
) -> None:
    moved = library.rename(tmp_path / "moved")
    said = registry.storage.relink(moved, dry_run=True)
    with pytest.raises(CorruptBlob):
        registry.blob_path(cataloged["one"])
    assert registry.storage.relink(moved).moved == said.moved


def test_files_that_are_where_they_were_are_not_read(
    registry: Registry, library: Path, cataloged: dict[str, str], tmp_path: Path
) -> None:
    found = registry.storage.relink(library)
    assert (found.moved, found.missing, found.seen, found.read) == ((), (), 3, 0)
    (library / "three.txt").rename(tmp_path / "three.txt")
    found = registry.storage.relink(library)
    assert (found.moved, found.read) == ((), 0)
    assert found.missing == (str(library / "three.txt"),)
    assert cataloged


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that can be opened and not be read")
def test_a_file_that_cannot_be_read_is_named_and_the_others_are_found(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    registry.add(tmp_path / "empty.txt", kind="other", in_place=True)
    folder = tmp_path / "moved"
    folder.mkdir()
    (tmp_path / "empty.txt").rename(folder / "b.txt")
    (folder / "a.txt").symlink_to("/proc/self/mem")
    found = registry.storage.relink(folder)
    assert [Path(new).name for _, new in found.moved] == ["b.txt"]
    assert [line.partition(":")[0] for line in found.unreadable] == [str(folder / "a.txt")]


def test_an_unfinished_copy_is_not_taken_for_the_file(
    registry: Registry, library: Path, cataloged: dict[str, str], tmp_path: Path
) -> None:
    moved = library.rename(tmp_path / "moved")
    (moved / "one.txt.aria2").write_text("")
    (moved / "two.txt").rename(moved / "two.txt.part")
    assert [Path(old).name for old, _ in registry.storage.relink(moved).moved] == ["three.txt"]
    assert cataloged


def test_a_path_that_a_scan_has_recorded_already_takes_over_without_being_read(
    registry: Registry, library: Path, cataloged: dict[str, str], tmp_path: Path
) -> None:
    moved = library.rename(tmp_path / "moved")
    path = moved / "one.txt"
    remember(registry.database, [(str(path), cataloged["one"], FileStatus.of(path))])
    found = registry.storage.relink(moved)
    assert (len(found.moved), found.read) == (3, 2)
    assert registry.blob_path(cataloged["one"]) == path
    assert len(registry.storage.locations(cataloged["one"])) == 1


def test_the_memory_of_imported_files_follows_them_too(registry: Registry, library: Path, tmp_path: Path) -> None:
    path = library / "one.txt"
    version = registry.add(path, kind="other")
    remember(registry.database, [(str(path), version.artifacts[0].sha256, FileStatus.of(path))])
    moved = library.rename(tmp_path / "moved") / "one.txt"
    found = registry.storage.relink(tmp_path / "moved")
    assert found.moved == ((str(path), str(moved)),)
    assert known_files(registry.database, [str(moved)])[str(moved)].status == FileStatus.of(moved)


def test_one_file_of_two_equal_ones_relinks_one_of_them(registry: Registry, library: Path, tmp_path: Path) -> None:
    twin = shutil.copy(library / "one.txt", library / "twin.txt")
    sha256 = registry.add(library / "one.txt", kind="other", in_place=True).artifacts[0].sha256
    registry.add(Path(twin), kind="other", in_place=True)
    moved = library.rename(tmp_path / "moved")
    (moved / "twin.txt").unlink()
    found = registry.storage.relink(moved)
    assert (len(found.moved), len(found.missing)) == (1, 1)
    assert registry.blob_path(sha256) == moved / "one.txt"


def test_a_folder_that_is_not_there_is_an_error(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such folder"):
        registry.storage.relink(tmp_path / "absent")


def test_a_moved_base_opens_again(registry: Registry, write_base: Callable[..., Path], tmp_path: Path) -> None:
    base = registry.add(write_base(), kind="base", in_place=True)
    assert (registry.folder(base) / "model_index.json").is_file()
    moved = write_base().rename(tmp_path / "moved")
    with pytest.raises(CorruptBlob):
        registry.folder(base)
    registry.storage.relink(moved)
    assert (registry.folder(base) / "model_index.json").resolve() == moved / "model_index.json"

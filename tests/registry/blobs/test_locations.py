import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from registry import CorruptBlob, Refused, Registry

Write = Callable[..., Path]
Stored = Callable[[], set[str]]


@pytest.mark.both_databases
def test_a_checkpoint_in_place_is_not_copied_and_opens_from_where_it_lies(
    registry: Registry, write_base: Write, stored_files: Stored
) -> None:
    source = write_base()
    base = registry.add(source, kind="base", in_place=True)
    assert stored_files() == set()
    folder = registry.folder(base)
    assert (folder / "model_index.json").resolve() == source / "model_index.json"
    assert registry.bases("tiny")[0].ref == base.ref
    assert registry.add(source, kind="base", in_place=True).id == base.id


@pytest.mark.usefixtures("base")
def test_in_place_and_copied_bytes_are_the_same_version(
    registry: Registry, write_vector: Write, stored_files: Stored
) -> None:
    path = write_vector()
    first = registry.add(path, kind="style", in_place=True)
    before = stored_files()
    assert registry.add(path, kind="style").ref == first.ref
    sha256 = first.artifacts[0].sha256
    assert stored_files() == before | {sha256}
    assert [place.mode for place in registry.storage.locations(sha256)] == ["stored", "in-place"]
    path.unlink()
    assert registry.file(first).read_bytes()


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A file to catalog in place."""
    path = tmp_path / "note.txt"
    path.write_text("a note")
    return path


def test_a_file_that_was_only_touched_is_hashed_again_and_then_known(registry: Registry, note: Path) -> None:
    version = registry.add(note, kind="other", in_place=True)
    (place,) = registry.storage.locations(version.artifacts[0].sha256)
    os.utime(note, (1, 1))
    assert not place.is_unchanged()
    assert registry.file(version).read_text() == "a note"
    (place,) = registry.storage.locations(version.artifacts[0].sha256)
    assert place.is_unchanged()


@pytest.mark.parametrize("content", ["A NOTE", "a longer note", ""])
def test_a_file_that_was_changed_is_never_handed_out(registry: Registry, note: Path, content: str) -> None:
    version = registry.add(note, kind="other", in_place=True)
    assert registry.file(version)
    note.write_text(content)
    os.utime(note, (1, 1))
    with pytest.raises(CorruptBlob, match="the file was changed"):
        registry.file(version)
    with pytest.raises(CorruptBlob):
        registry.blob_path(version.artifacts[0].sha256)
    again = registry.add(note, kind="other", in_place=True)
    assert again.number == 2
    assert registry.file(again).read_text() == content


def test_a_second_copy_steps_in_for_one_that_is_gone(registry: Registry, note: Path, tmp_path: Path) -> None:
    version = registry.add(note, kind="other", in_place=True)
    copy = Path(shutil.copy(note, tmp_path / "copy.txt"))
    registry.add(copy, kind="other", name="note", in_place=True)
    note.unlink()
    assert registry.file(version).resolve() == copy


def test_a_snapshot_of_the_hub_cache_is_reused_where_it_lies(
    registry: Registry, base: str, write_vector: Write, tmp_path: Path, stored_files: Stored
) -> None:
    """The cache's snapshots are links to its blobs, which is where the bytes are recorded."""
    cache = tmp_path / "hub" / "models--someone--papercut"
    snapshot = cache / "snapshots" / "0123abcd"
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    content = write_vector().read_bytes()
    (cache / "blobs" / "etag").write_bytes(content)
    (snapshot / "pytorch_lora_weights.safetensors").symlink_to("../../blobs/etag")
    before = stored_files()
    version = registry.add(snapshot, kind="style", name="papercut", base=base, in_place=True)
    assert stored_files() == before
    (place,) = registry.storage.locations(version.artifacts[0].sha256)
    assert place.path == cache / "blobs" / "etag"
    assert registry.file(version).read_bytes() == content
    copied = registry.add(snapshot, kind="style", name="papercut", base=base)
    assert copied.id == version.id
    assert stored_files() == before | {version.artifacts[0].sha256}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("partner", ["note.txt.aria2", "note.txt.part", "note.txt.crdownload", "note.txt.incomplete"])
def test_a_download_that_is_not_complete_is_never_hashed_as_finished(
    registry: Registry, note: Path, stored_files: Stored, partner: str, in_place: bool
) -> None:
    note.with_name(partner).write_text("")
    with pytest.raises(Refused, match="unfinished download"):
        registry.add(note, kind="other", in_place=in_place)
    with pytest.raises(Refused, match="unfinished download"):
        registry.add(note.with_name(partner), kind="other", in_place=in_place)
    assert stored_files() == set()
    note.with_name(partner).unlink()
    assert registry.add(note, kind="other", in_place=in_place).number == 1


def test_what_is_removed_in_place_leaves_the_owners_file_alone(registry: Registry, note: Path) -> None:
    version = registry.add(note, kind="other", in_place=True)
    registry.remove(version.ref)
    registry.storage.gc(grace=0)
    assert note.read_text() == "a note"
    assert registry.restore(version.ref).ref == version.ref
    assert registry.file(registry.get("note")).read_text() == "a note"

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, select

from registry import CorruptBlob, NotFound, Registry
from registry.blobs.local import LocalBlobs
from registry.blobs.staging import stage_bytes
from registry.storage.check import Consistency, Wrong
from registry.tables import LocationRow

pytestmark = pytest.mark.both_databases


def wrong(found: Consistency) -> set[tuple[str, str]]:
    """What is wrong with what."""
    assert sum(found.counts.values()) == len(found.problems)
    assert all(problem.detail and problem.remedy for problem in found.problems)
    return {(problem.wrong, problem.where) for problem in found.problems}


def damage(registry: Registry, sha256: str, content: bytes) -> None:
    """Overwrite what lies at an address."""
    if isinstance(registry.store, LocalBlobs):
        path = registry.store.folder / sha256[:2] / sha256
        path.chmod(0o644)
        path.write_bytes(content)
    else:
        import obstore

        obstore.put(registry.store._bucket, f"{sha256[:2]}/{sha256}", content)  # type: ignore[attr-defined]


def test_a_catalog_that_agrees_with_its_bytes_has_no_problem(keeper: Registry, write_base: Callable[..., Path]) -> None:
    base = keeper.add(write_base(), kind="base")
    calls: list[tuple[int, int]] = []
    found = keeper.storage.check(deep=True, grace=0, progress=lambda done, total: calls.append((done, total)))
    assert (found.ok, found.counts, found.problems) == (True, {}, ())
    assert found.checked == len({artifact.sha256 for artifact in base.artifacts}) == len(calls)
    assert calls == sorted(calls)
    assert all(0 < done <= total for done, total in calls)


def test_bytes_without_row_and_rows_without_bytes_are_told_apart(keeper: Registry) -> None:
    kept, lost, short = (keeper.put_blob(content) for content in (b"kept", b"lost", b"short"))
    keeper.store.remove([lost])
    damage(keeper, short, b"sho")
    with keeper.store.staging.open() as folder:
        staged = stage_bytes(b"loose", folder / "content")
        keeper.store.send(staged)
        keeper.store.place(staged)
    loose = staged.digests.sha256
    assert wrong(keeper.storage.check(grace=0)) == {
        (Wrong.WITHOUT_BYTES, lost),
        (Wrong.WRONG_SIZE, short),
        (Wrong.WITHOUT_ROW, loose),
    }
    assert loose not in {where for _, where in wrong(keeper.storage.check(grace=3600))}
    for content in (b"lost", b"short", b"loose"):
        keeper.put_blob(content)
    assert keeper.storage.check(deep=True, grace=0).ok
    assert keeper.blob_path(kept).read_bytes() == b"kept"


def test_only_a_deep_check_sees_rot_and_setting_it_aside_lets_an_import_repair_it(keeper: Registry) -> None:
    good, rotten = keeper.put_blob(b"good"), keeper.put_blob(b"precious")
    damage(keeper, rotten, b"precioux")
    assert keeper.storage.check(grace=0).ok
    assert wrong(keeper.storage.check(deep=True, grace=0)) == {(Wrong.ROTTEN, rotten)}
    (problem,) = keeper.storage.check(deep=True, set_aside=True, grace=0).problems
    assert "set aside" in problem.detail
    with pytest.raises(CorruptBlob):
        keeper.blob_path(rotten)
    keeper.put_blob(b"precious")
    assert keeper.storage.check(deep=True, grace=0).ok
    assert keeper.blob_path(rotten).read_bytes() == b"precious"
    assert keeper.blob_path(good).read_bytes() == b"good"


def test_importing_the_original_again_replaces_rotten_bytes_of_its_size(keeper: Registry, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("precious")
    (artifact,) = keeper.add(path, kind="other").artifacts
    damage(keeper, artifact.sha256, b"precioux")
    assert wrong(keeper.storage.check(deep=True, grace=0)) == {(Wrong.ROTTEN, artifact.sha256)}
    assert keeper.add(path, kind="other").ref == "note:1"
    assert hashlib.sha256(keeper.blob_path(artifact.sha256).read_bytes()).hexdigest() == artifact.sha256
    assert keeper.storage.check(deep=True, grace=0).ok


def test_what_replaced_rotten_bytes_stays_when_the_import_is_refused_after_all(
    keeper: Registry, tmp_path: Path
) -> None:
    path = tmp_path / "note.txt"
    path.write_text("precious")
    (artifact,) = keeper.add(path, kind="other").artifacts
    damage(keeper, artifact.sha256, b"precioux")
    with pytest.raises(NotFound):
        keeper.add(path, kind="other", recipe="0" * 64, name="another")
    found = keeper.store.find(artifact.sha256)
    assert found is not None
    assert found.size == len("precious")


def test_a_deep_check_notes_when_it_read_what(registry: Registry) -> None:
    registry.put_blob(b"x")

    def checked() -> list[object]:
        with registry.database.reading() as uow:
            return list(uow.session.scalars(select(LocationRow.checked_at)))

    registry.storage.check()
    assert checked() == [None]
    registry.storage.check(deep=True)
    assert None not in checked()


def test_a_blob_that_a_version_needs_and_that_lies_nowhere_is_found(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a note")
    version = registry.add(tmp_path / "note.txt", kind="other")
    with registry.database.writing() as uow:
        uow.session.execute(delete(LocationRow))
        uow.commit()
    sha256 = version.artifacts[0].sha256
    assert (Wrong.WITHOUT_BYTES, sha256) in wrong(registry.storage.check(grace=0))
    registry.add(tmp_path / "note.txt", kind="other")
    assert registry.storage.check(grace=0).ok


def test_files_in_place_that_moved_or_changed_are_found(registry: Registry, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.txt" for name in ("same", "touched", "moved", "changed", "swapped")]
    for path in paths:
        path.write_text(f"the text of {path.stem}")
        registry.add(path, kind="other", in_place=True)
    _, touched, moved, changed, swapped = paths
    os.utime(touched, (1, 1))
    moved.rename(tmp_path / "elsewhere")
    changed.write_text("something else")
    swapped.write_text("the text of SWAPPED")
    expected = {(Wrong.MOVED, str(moved)), (Wrong.CHANGED, str(changed)), (Wrong.CHANGED, str(swapped))}
    assert wrong(registry.storage.check()) == expected
    assert wrong(registry.storage.check(deep=True)) == expected


def test_an_edit_that_keeps_size_and_time_is_found_by_a_deep_check_alone(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("a note")
    registry.add(path, kind="other", in_place=True)
    before = path.stat()
    with path.open("r+") as file:
        file.write("A NOTE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.storage.check().ok
    assert wrong(registry.storage.check(deep=True)) == {(Wrong.CHANGED, str(path))}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that can be opened and not be read")
def test_what_cannot_be_read_is_named_and_the_check_goes_on(registry: Registry, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_text(f"the text of {path}")
        registry.add(path, kind="other", in_place=True)
        path.unlink()
    paths[0].symlink_to("/proc/self/mem")
    expected = {(Wrong.UNREADABLE, str(paths[0])), (Wrong.MOVED, str(paths[1]))}
    assert wrong(registry.storage.check(deep=True)) == expected


def test_a_stranger_in_the_store_is_named(registry: Registry) -> None:
    (registry.store.folder / "ab").mkdir(parents=True)
    (registry.store.folder / "ab" / "README").write_text("mine")
    assert wrong(registry.storage.check(grace=0)) == {(Wrong.STRANGE, "README")}

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from registry import CorruptBlob, InvalidReference, Registry
from registry.blobs.local import LocalBlobs
from registry.blobs.staging import stage_bytes
from registry.blobs.stored import place_blobs, record_blobs, sent
from registry.dialect import now
from registry.storage.garbage import Swept, Tally
from registry.tables import BlobHashRow, BlobRow, LocationRow

HOUR = 3600.0
NOTHING = Tally()
Digests = Callable[[], set[str]]

pytestmark = pytest.mark.both_databases


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A file to register."""
    path = tmp_path / "note.txt"
    path.write_text("a note")
    return path


def rows(registry: Registry) -> set[str]:
    """The digests of all blob rows."""
    with registry.database.reading() as uow:
        return set(uow.session.scalars(select(BlobRow.sha256)))


def change(registry: Registry, sha256: str, **values: object) -> None:
    """Overwrite columns of a blob's row."""
    with registry.database.writing() as uow:
        uow.session.execute(update(BlobRow).where(BlobRow.sha256 == sha256).values(**values))
        uow.commit()


def age(registry: Registry, hours: float) -> None:
    """Make every blob and removal of the registry as old as that."""
    with registry.database.writing() as uow:
        uow.session.execute(update(BlobRow).values(used_at=now(-hours * HOUR), created_at=now(-hours * HOUR)))
        uow.commit()


def put_without_row(registry: Registry, content: bytes) -> str:
    """Bytes that an import stored and never recorded."""
    with registry.store.staging.open() as folder:
        staged = stage_bytes(content, folder / "content")
        registry.store.send(staged)
        registry.store.place(staged)
    return staged.digests.sha256


def test_what_a_version_or_a_picture_needs_stays(keeper: Registry, kept_digests: Digests, note: Path) -> None:
    version = keeper.add(note, kind="other")
    keeper.add_preview(version, {"seed": 1}, b"png", {})
    before = kept_digests()
    assert keeper.storage.gc(grace=0) == Swept(False, *[NOTHING] * 6)
    assert kept_digests() == before
    assert len(before) == 2
    assert keeper.storage.check(deep=True, grace=0).ok


def test_the_picture_that_a_painting_began_with_stays_as_long_as_what_was_painted(
    keeper: Registry, kept_digests: Digests, note: Path
) -> None:
    version = keeper.add(note, kind="other")
    init, forgotten = keeper.put_blob(b"a sketch"), keeper.put_blob(b"another sketch")
    keeper.add_preview(version, {"seed": 1, "init": init}, b"png", {})
    assert keeper.storage.gc(grace=0).unreferenced == Tally(1, 14)
    assert init in kept_digests()
    assert forgotten not in kept_digests()
    with pytest.raises(InvalidReference, match=r"init 'sketch.png' of a picture: expected 64"):
        keeper.add_preview(version, {"init": "sketch.png"}, b"png", {})


def test_a_blob_that_nothing_needs_goes_with_its_rows_once_its_grace_is_over(
    keeper: Registry, kept_digests: Digests
) -> None:
    sha256 = keeper.put_blob(b"forgotten")
    assert keeper.storage.gc(grace=HOUR).unreferenced == NOTHING
    age(keeper, hours=2)
    assert keeper.storage.gc(grace=3 * HOUR).unreferenced == NOTHING
    assert keeper.storage.gc(grace=HOUR, dry_run=True).unreferenced == Tally(1, 9)
    assert kept_digests() == {sha256}
    assert keeper.storage.gc(grace=HOUR).unreferenced == Tally(1, 9)
    assert (kept_digests(), rows(keeper), keeper.storage.locations(sha256)) == (set(), set(), [])
    assert keeper.put_blob(b"forgotten") == sha256
    assert keeper.blob_path(sha256).read_bytes() == b"forgotten"


def test_putting_bytes_again_starts_their_grace_again(keeper: Registry, kept_digests: Digests) -> None:
    sha256 = keeper.put_blob(b"useful")
    age(keeper, hours=2)
    keeper.put_blob(b"useful")
    assert keeper.storage.gc(grace=HOUR).unreferenced == NOTHING
    assert kept_digests() == {sha256}


def test_the_bytes_of_a_removed_version_stay_for_the_grace_and_its_tombstone_for_ever(
    keeper: Registry, kept_digests: Digests, note: Path
) -> None:
    version = keeper.add(note, kind="other")
    sha256 = version.artifacts[0].sha256
    age(keeper, hours=48)
    keeper.remove(version.ref)
    assert keeper.storage.gc(grace=HOUR).unreferenced == NOTHING
    assert kept_digests() == {sha256}
    assert keeper.storage.gc(grace=0).unreferenced == Tally(1, 6)
    assert keeper.storage.gc(grace=0) == Swept(False, *[NOTHING] * 6)
    assert (kept_digests(), rows(keeper)) == (set(), {sha256})
    assert keeper.storage.check(grace=0).ok


def test_bytes_that_were_never_recorded_go_when_they_are_old_enough(keeper: Registry, kept_digests: Digests) -> None:
    loose = put_without_row(keeper, b"loose")
    kept = keeper.put_blob(b"kept")
    assert keeper.storage.gc(grace=HOUR).without_row == NOTHING
    assert keeper.storage.gc(grace=0, dry_run=True).without_row == Tally(1, 5)
    assert kept_digests() == {loose, kept}
    with keeper.database.writing() as uow:
        uow.session.execute(delete(LocationRow).where(LocationRow.blob_sha256 == kept))
        uow.commit()
    keeper.put_blob(b"kept")
    keeper.add_preview(_recipe(keeper), {}, b"kept", {})
    assert keeper.storage.gc(grace=0).without_row == Tally(1, 5)
    assert kept_digests() == {kept}


def _recipe(registry: Registry) -> str:
    return f"recipe:{registry.add_recipe('a', 'a', 'a' * 64).sha256}"


def test_strangers_in_the_store_are_left_alone(registry: Registry) -> None:
    stranger = registry.store.folder / "ab" / "README"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("mine")
    registry.storage.gc(grace=0)
    assert stranger.read_text() == "mine"


def test_a_killed_collection_is_finished_by_the_next_one(keeper: Registry, kept_digests: Digests) -> None:
    """Killed after marking, and after the bytes of one were gone."""
    marked, half = keeper.put_blob(b"marked"), keeper.put_blob(b"half")
    for sha256 in (marked, half):
        change(keeper, sha256, state="deleting")
    keeper.store.remove([half])
    assert keeper.storage.gc(grace=HOUR).unreferenced == Tally(2, 10)
    assert (kept_digests(), rows(keeper)) == (set(), set())


@pytest.mark.parametrize("bytes_are_gone", [False, True])
def test_an_import_takes_back_what_was_marked_before_it_is_deleted(
    keeper: Registry, kept_digests: Digests, note: Path, bytes_are_gone: bool
) -> None:
    sha256 = keeper.put_blob(note)
    change(keeper, sha256, state="deleting")
    if bytes_are_gone:
        keeper.store.remove([sha256])
    version = keeper.add(note, kind="other")
    assert keeper.storage.gc(grace=0).unreferenced == NOTHING
    assert kept_digests() == {sha256}
    assert keeper.file(version).read_bytes() == b"a note"


def test_bytes_that_are_collected_between_upload_and_commit_are_put_again(
    keeper: Registry, kept_digests: Digests
) -> None:
    with keeper.store.staging.open() as folder:
        staged = [stage_bytes(b"in flight", folder / "content")]
        with sent(keeper.database, keeper.store, staged):
            keeper.storage.gc(grace=0)
            assert staged[0].path.exists()
            with keeper.database.writing() as uow:
                record_blobs(uow, staged)
                place_blobs(uow, keeper.store, staged)
                uow.commit()
    assert kept_digests() == {staged[0].digests.sha256}
    assert keeper.storage.check(deep=True, grace=0).ok


def test_imports_that_run_beside_a_relentless_collection_lose_nothing(keeper: Registry, tmp_path: Path) -> None:
    """Half of the imports bring bytes that lie there as garbage already, so that deletion and deduplication race."""
    paths = [tmp_path / f"{number}.txt" for number in range(16)]
    for number, path in enumerate(paths):
        path.write_text(f"note {number // 2}")
        if number % 4 == 0:
            keeper.put_blob(path)

    def add(path: Path) -> str:
        return keeper.add(path, kind="other", name=f"note-{path.stem}").ref

    with ThreadPoolExecutor(5) as pool:
        imports = [pool.submit(add, path) for path in paths]
        while not all(one.done() for one in imports):
            keeper.storage.gc(grace=0)
        refs = [one.result() for one in imports]
    assert keeper.storage.check(deep=True, grace=0).ok
    for ref, path in zip(refs, paths, strict=True):
        assert keeper.file(keeper.get(ref)).read_text() == path.read_text()
    assert keeper.storage.gc(grace=0).bytes == 0


def test_uploads_whose_time_is_over_go_with_their_pieces(keeper: Registry) -> None:
    from registry.tables import UploadRow

    upload = keeper.uploads.begin("a" * 64, 3, "ann")
    assert upload is not None
    keeper.uploads.receive(upload.id, 0, b"xyz")
    keeper.store.put_part("never-begun", 0, keeper.store.stage_part("never-begun", b"12345"))
    assert keeper.storage.gc(grace=HOUR).uploads == NOTHING
    assert keeper.storage.gc(grace=0).uploads == Tally(1, 5)
    with keeper.database.writing() as uow:
        uow.session.execute(update(UploadRow).values(expires_at=now(-1)))
        uow.commit()
    assert keeper.storage.gc(grace=0, dry_run=True).uploads == Tally(1, 3)
    assert keeper.storage.gc(grace=0).uploads == Tally(1, 3)
    assert list(keeper.store.uploads()) == []
    assert keeper.storage.gc(grace=0).uploads == NOTHING


def test_opened_folders_go_with_their_version(registry: Registry, note: Path) -> None:
    kept = registry.add(note, kind="other", name="kept")
    note.write_text("another note")
    gone = registry.add(note, kind="other", name="gone")
    folders = [registry.folder(version) for version in (kept, gone)]
    registry.remove(gone.ref)
    yesterday = time.time() - 24 * HOUR
    for folder in folders:
        os.utime(folder, (yesterday, yesterday))
    assert registry.storage.gc(grace=HOUR, dry_run=True).folders == Tally(1, 0)
    assert registry.storage.gc(grace=HOUR).folders == Tally(1, 0)
    assert [folder.exists() for folder in folders] == [True, False]


def test_a_bucket_keeps_no_local_copy_of_what_was_collected(
    bucket: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", f"{bucket}/{registry.home.parent.name}")
    with Registry.open(registry.home, registry.url, actor="ann") as remote:
        assert not isinstance(remote.store, LocalBlobs)
        path = remote.blob_path(remote.put_blob(b"fetched"))
        assert path.is_relative_to(remote.home)
        remote.storage.gc(grace=0)
        assert not path.exists()


def test_local_copies_that_nobody_opens_go_and_are_fetched_again(
    bucket: str, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", f"{bucket}/{registry.home.parent.name}")
    with Registry.open(registry.home, registry.url, actor="ann") as remote:
        opened, unopened = (remote.blob_path(remote.put_blob(content)) for content in (b"new", b"older"))
        for path in (opened, unopened):
            os.utime(path, (1, 1))
        remote.blob_path(opened.name)
        assert remote.storage.gc(dry_run=True).copies == Tally(1, 5)
        assert remote.storage.gc().copies == Tally(1, 5)
        assert (opened.exists(), unopened.exists()) == (True, False)
        assert remote.blob_path(unopened.name).read_bytes() == b"older"


def test_short_hashes_go_with_their_blob(registry: Registry) -> None:
    registry.put_blob(b"hashed")

    def hashes() -> list[str]:
        with registry.database.reading() as uow:
            return list(uow.session.scalars(select(BlobHashRow.kind)))

    assert "crc32" in hashes()
    assert registry.storage.gc(grace=0).unreferenced == Tally(1, 6)
    assert hashes() == []


def test_bytes_that_are_gone_are_never_offered_as_present(registry: Registry, note: Path) -> None:
    version = registry.add(note, kind="other")
    registry.remove(version.ref)
    registry.storage.gc(grace=0)
    with pytest.raises(CorruptBlob, match="lie nowhere any more"):
        registry.blob_path(version.artifacts[0].sha256)

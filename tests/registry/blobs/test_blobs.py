import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from formats.broadcast import INLINE_BYTES
from registry import CorruptBlob, NotFound, Refused, Registry, Unsupported
from registry.blobs.local import LocalBlobs
from registry.blobs.staging import WRITE_BYTES, StagedFile, stage_bytes, stage_file
from registry.blobs.store import PART_BYTES, BlobStore
from registry.errors import Unreachable

BIG = PART_BYTES + 12_345
"""More than one piece."""

DIE_STAGING = """
import os, signal, sys
from pathlib import Path
from registry.blobs.local import LocalBlobs
with LocalBlobs(Path(sys.argv[1])).staging.open() as folder:
    (folder / "content").write_bytes(b"dead")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def store(keeper: Registry) -> BlobStore:
    """A store in a folder, then one in a bucket."""
    return keeper.store


def put(store: BlobStore, content: bytes) -> str:
    """Store bytes without a row; their sha256."""
    with store.staging.open() as folder:
        staged = stage_bytes(content, folder / "content")
        store.send(staged)
        store.place(staged)
    return staged.digests.sha256


def shifted(content: bytes) -> bytes:
    """Other bytes of the same length."""
    return content[1:] + content[:1]


def overwrite(store: BlobStore, sha256: str, content: bytes) -> None:
    """Damage what lies at an address, behind the store's back."""
    if isinstance(store, LocalBlobs):
        path = store.folder / sha256[:2] / sha256
        path.unlink()
        path.write_bytes(content)
    else:
        import obstore

        obstore.put(store._bucket, f"{sha256[:2]}/{sha256}", content)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [0, 1, PART_BYTES, BIG])
def test_what_is_put_is_what_is_read(store: BlobStore, size: int) -> None:
    content = (b"0123456789" * (size // 10 + 1))[:size]
    sha256 = put(store, content)
    assert sha256 == hashlib.sha256(content).hexdigest()
    path = store.path_of(sha256, size)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o222 == 0
    assert b"".join(store.read(sha256, 0, size)) == content
    assert b"".join(store.read(sha256, size // 3, size // 2)) == content[size // 3 : size // 2]
    found = store.find(sha256)
    assert found is not None
    assert (found.name, found.size) == (sha256, size)


def test_placing_says_whether_the_bytes_are_new(store: BlobStore, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x")
    with store.staging.open() as folder:
        first = stage_file(tmp_path / "source", folder / "one")
        written = (store.send(first), store.place(first))
        assert written.count(True) == 1
        again = stage_file(tmp_path / "source", folder / "two")
        assert (store.send(again), store.place(again)) == (False, False)


@pytest.mark.parametrize("size", [100, BIG])
def test_many_who_put_the_same_bytes_at_once_store_them_once(store: BlobStore, size: int) -> None:
    content = b"7" * size
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: put(store, content), range(4)))) == 1
    sha256 = hashlib.sha256(content).hexdigest()
    assert [found.name for found in store.listed()] == [sha256]


def test_bytes_of_another_size_at_the_address_are_replaced(store: BlobStore) -> None:
    sha256 = put(store, b"precious")
    overwrite(store, sha256, b"pre")
    with pytest.raises(CorruptBlob):
        store.path_of(sha256, 8)
    assert put(store, b"precious") == sha256
    assert store.path_of(sha256, 8).read_bytes() == b"precious"


def test_a_listing_is_of_all_blobs_by_name_and_of_nothing_else(store: BlobStore) -> None:
    digests = [put(store, str(number).encode()) for number in range(40)]
    store.put_part("upload", 0, store.stage_part("upload", b"x"))
    store.set_aside(digests.pop())
    assert [found.name for found in store.listed()] == sorted(digests)


def test_what_is_removed_is_gone_and_removing_it_again_is_no_error(store: BlobStore) -> None:
    sha256 = put(store, b"x")
    store.path_of(sha256, 1)
    store.remove([sha256])
    store.remove([sha256])
    store.remove([])
    assert store.find(sha256) is None
    with pytest.raises(CorruptBlob, match="Import the original file again"):
        store.path_of(sha256, 1)
    with pytest.raises(CorruptBlob):
        list(store.read(sha256, 0, 1))


@pytest.mark.parametrize("size", [10, BIG])
def test_bytes_set_aside_are_kept_elsewhere(store: BlobStore, size: int) -> None:
    sha256 = put(store, b"9" * size)
    assert sha256 in store.set_aside(sha256)
    assert store.find(sha256) is None
    assert put(store, b"9" * size) == sha256


def test_the_pieces_of_an_upload_come_back_in_order_each_once(store: BlobStore) -> None:
    assert list(store.uploads()) == []
    for offset, content in ((5, b"wo"), (0, b"hello"), (5, b" wo"), (8, b"rld")):
        store.put_part("one", offset, store.stage_part("one", content))
    store.put_part("two", 0, store.stage_part("two", b"x"))
    assert b"".join(store.parts("one")) == b"hello world"
    assert {found.name: found.size for found in store.uploads()} == {"one": 11, "two": 1}
    store.drop_parts("one")
    assert [found.name for found in store.uploads()] == ["two"]


def test_a_blob_has_one_row_and_one_file_however_often_it_is_put(
    keeper: Registry, kept_digests: Callable[[], set[str]], tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"a picture")
    sha256 = keeper.put_blob(b"a picture")
    assert keeper.put_blob(tmp_path / "a.png") == sha256
    assert kept_digests() == {sha256}
    assert keeper.blob_path(sha256).read_bytes() == b"a picture"
    assert [place.mode for place in keeper.storage.locations(sha256)] == ["stored"]


def test_an_unknown_blob_is_not_found(keeper: Registry) -> None:
    with pytest.raises(NotFound, match="no blob"):
        keeper.blob_path("0" * 64)


def test_bytes_that_are_gone_or_shorter_are_corrupt_and_putting_them_again_repairs_them(registry: Registry) -> None:
    sha256 = registry.put_blob(b"precious")
    path = registry.blob_path(sha256)
    path.unlink()
    with pytest.raises(CorruptBlob, match="got no file, expected 8 bytes"):
        registry.blob_path(sha256)
    path.write_bytes(b"pre")
    with pytest.raises(CorruptBlob, match="got 3 bytes"):
        registry.blob_path(sha256)
    registry.put_blob(b"precious")
    assert registry.blob_path(sha256).read_bytes() == b"precious"


def test_a_copy_from_a_bucket_is_verified_when_it_is_fetched(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", f"{bucket}/rot")
    with Registry.open(tmp_path / "home") as registry:
        sha256 = registry.put_blob(b"precious")
        overwrite(registry.store, sha256, shifted(b"precious"))
        with pytest.raises(CorruptBlob, match="got bytes with sha256"):
            registry.blob_path(sha256)
        assert [path for path in registry.store.folder.rglob("*") if path.is_file()] == []


def test_a_failed_registration_leaves_no_bytes_and_takes_none_of_somebody_else(
    keeper: Registry, kept_digests: Callable[[], set[str]], tmp_path: Path
) -> None:
    (tmp_path / "note.txt").write_text("a note")
    with pytest.raises(NotFound, match="no recipe"):
        keeper.add(tmp_path / "note.txt", kind="other", recipe="0" * 64)
    assert kept_digests() == set()
    keeper.add(tmp_path / "note.txt", kind="other", name="kept")
    with pytest.raises(NotFound, match="no recipe"):
        keeper.add(tmp_path / "note.txt", kind="other", name="note", recipe="0" * 64)
    assert kept_digests() == {keeper.get("kept").artifacts[0].sha256}


def test_a_version_is_opened_from_any_store(keeper: Registry, write_base: Callable[..., Path]) -> None:
    source = write_base()
    folder = keeper.folder(keeper.add(source, kind="base"))
    files = sorted(path.relative_to(source) for path in source.rglob("*") if path.is_file())
    assert sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()) == files
    assert all((folder / file).read_bytes() == (source / file).read_bytes() for file in files)


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix"])
def test_an_address_without_a_bucket_is_refused(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("TAU_BLOB_URL", url)
    with pytest.raises(Unsupported, match="expected s3://bucket"):
        Registry.open(tmp_path)


def test_a_bucket_that_is_not_there_is_an_error_of_ours_with_the_remedy(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAU_BLOB_URL", "s3://no-such-bucket-of-ours/x")
    with Registry.open(tmp_path / "home") as registry:
        with pytest.raises(Unreachable, match=r"no-such-bucket-of-ours.*Check AWS_ENDPOINT_URL"):
            registry.put_blob(b"x")
        assert bucket


def test_a_staging_folder_is_gone_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    with pytest.raises(RuntimeError, match="stop"), store.staging.open() as folder:
        stage_bytes(b"x", folder / "content")
        raise RuntimeError("stop")
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_a_sweep_takes_the_staging_of_dead_processes_alone(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path / "blobs")
    dead = subprocess.run(
        [sys.executable, "-c", DIE_STAGING, str(store.folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert dead.returncode == -signal.SIGKILL
    with store.staging.open() as folder:
        staged: StagedFile = stage_bytes(b"alive", folder / "content")
        assert store.staging.sweep(grace=3600, dry_run=False) == []
        assert store.staging.sweep(grace=0, dry_run=True) == [4]
        assert store.staging.sweep(grace=0, dry_run=False) == [4]
        assert store.staging.sweep(grace=0, dry_run=False) == []
        assert staged.path.read_bytes() == b"alive"
    assert list(store.staging.folder.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, WRITE_BYTES, WRITE_BYTES + 1, INLINE_BYTES + 3, PART_BYTES + WRITE_BYTES + 5])
def test_a_staged_copy_holds_what_was_hashed(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(random.Random(size).randbytes(size))
    staged = stage_file(source, tmp_path / "staging" / "copy")
    assert staged.path.read_bytes() == source.read_bytes()
    assert staged.digests.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()


def test_a_file_that_grows_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    pipe = tmp_path / "growing"
    pipe.write_bytes(b"x" * (1 << 20))

    class Slow(type(pipe)):  # type: ignore[misc]
        """A path whose file grows the moment that it is opened for reading."""

        def open(self, *arguments: object, **options: object) -> object:
            with Path(self).open("ab") as more:
                more.write(b"y")
            return Path(self).open(*arguments, **options)  # type: ignore[call-overload]

    with pytest.raises(Refused, match="changed while it was read"):
        stage_file(Slow(pipe), tmp_path / "copy")

import hashlib
from pathlib import Path

import pytest

from registry import CorruptBlob, NotFound, Registry
from registry.blobs import BlobStore, stage_bytes, stage_file


def test_a_blob_lies_under_its_digest_read_only_and_once(registry: Registry) -> None:
    sha256 = registry.put_blob(b"a picture")
    path = registry.blob_path(sha256)
    assert sha256 == hashlib.sha256(b"a picture").hexdigest()
    assert path == registry.store.folder / sha256[:2] / sha256
    assert path.stat().st_mode & 0o222 == 0
    inode = path.stat().st_ino
    assert registry.put_blob(b"a picture") == sha256
    assert registry.blob_path(sha256).stat().st_ino == inode


def test_a_file_can_be_put_as_a_blob(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    assert registry.blob_path(registry.put_blob(tmp_path / "a.png")).read_bytes() == b"png"


def test_an_unknown_blob_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound, match="no blob"):
        registry.blob_path("0" * 64)


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


def test_a_staging_folder_is_gone_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    with pytest.raises(RuntimeError, match="stop"), store.staging() as folder:
        stage_bytes(b"x", folder / "content")
        raise RuntimeError("stop")
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_placing_says_whether_the_bytes_are_new(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    with store.staging() as folder:
        (tmp_path / "source").write_bytes(b"x")
        assert store.place(stage_file(tmp_path / "source", folder / "one"))
        assert not store.place(stage_file(tmp_path / "source", folder / "two"))

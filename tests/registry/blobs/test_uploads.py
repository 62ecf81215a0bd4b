import hashlib

import pytest
from sqlalchemy import update

from registry import Conflict, NotFound, Refused, Registry
from registry.blobs.local import LocalBlobs
from registry.blobs.store import PART_BYTES
from registry.blobs.uploads import Upload
from registry.dialect import now
from registry.tables import BlobRow

CONTENT = bytes(range(256)) * (PART_BYTES // 256) + b"the end"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PIECES = {0: CONTENT[:PART_BYTES], PART_BYTES: CONTENT[PART_BYTES:]}


def begin(registry: Registry, sha256: str = SHA256, size: int = len(CONTENT), principal: str = "ann") -> Upload:
    """An upload that is not stored yet."""
    upload = registry.uploads.begin(sha256, size, principal)
    assert upload is not None
    return upload


@pytest.mark.both_databases
def test_pieces_become_a_blob_and_what_is_stored_is_never_sent_again(keeper: Registry) -> None:
    upload = begin(keeper)
    for offset, piece in PIECES.items():
        assert keeper.uploads.receive(upload.id, offset, piece).received == offset + len(piece)
    assert keeper.uploads.complete(upload.id) == SHA256
    assert keeper.blob_path(SHA256).read_bytes() == CONTENT
    assert keeper.uploads.begin(SHA256, len(CONTENT), "bea") is None
    assert list(keeper.store.uploads()) == []
    with pytest.raises(NotFound):
        keeper.uploads.get(upload.id)


def test_an_upload_goes_on_where_it_stopped_for_whoever_began_it(keeper: Registry) -> None:
    upload = begin(keeper)
    keeper.uploads.receive(upload.id, 0, PIECES[0])
    again = begin(keeper)
    assert (again.id, again.received) == (upload.id, PART_BYTES)
    assert begin(keeper, principal="bea").id != upload.id


def test_pieces_out_of_order_or_of_another_length_are_refused(registry: Registry) -> None:
    upload = begin(registry)
    with pytest.raises(Conflict, match="got a piece at 8,388,608, expected one at 0"):
        registry.uploads.receive(upload.id, PART_BYTES, PIECES[PART_BYTES])
    for piece in (b"", b"short", PIECES[0] + b"x"):
        with pytest.raises(Refused, match="expected 8,388,608"):
            registry.uploads.receive(upload.id, 0, piece)
    with pytest.raises(Conflict, match=r"has 0 of .* bytes"):
        registry.uploads.complete(upload.id)
    registry.uploads.receive(upload.id, 0, PIECES[0])
    with pytest.raises(Refused, match="expected 7"):
        registry.uploads.receive(upload.id, PART_BYTES, b"the end!")
    with pytest.raises(Conflict):
        registry.uploads.receive(upload.id, 0, PIECES[0])


def test_bytes_that_are_not_what_was_announced_are_refused_and_forgotten(keeper: Registry) -> None:
    upload = begin(keeper, size=9)
    keeper.uploads.receive(upload.id, 0, b"something")
    with pytest.raises(Refused, match="announced was"):
        keeper.uploads.complete(upload.id)
    assert list(keeper.store.uploads()) == []
    assert list(keeper.store.listed()) == []
    assert begin(keeper, size=9).received == 0


def test_nothing_can_be_uploaded_too(registry: Registry) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert registry.uploads.complete(begin(registry, empty, 0).id) == empty
    assert registry.blob_path(empty).read_bytes() == b""


@pytest.mark.parametrize(("sha256", "size"), [("", 1), ("AB" * 32, 1), ("../" * 21 + "x", 1), ("ab" * 32, -1)])
def test_what_no_content_can_be_is_refused(registry: Registry, sha256: str, size: int) -> None:
    with pytest.raises(Refused, match="expected 64 hexadecimal digits"):
        registry.uploads.begin(sha256, size, "ann")


@pytest.mark.both_databases
def test_what_is_stored_is_touched_before_a_sender_relies_on_it(registry: Registry) -> None:
    sha256 = registry.put_blob(b"old")
    with registry.database.writing() as uow:
        uow.session.execute(update(BlobRow).values(used_at=now(-7200)))
        uow.commit()
    assert registry.uploads.begin(sha256, 3, "ann") is None
    assert registry.storage.gc(grace=3600).bytes == 0
    assert registry.blob_path(sha256).read_bytes() == b"old"


@pytest.mark.both_databases
@pytest.mark.parametrize("bytes_are", ["gone", "shorter", "about to go"])
def test_what_a_killed_collection_left_behind_is_sent_again(keeper: Registry, bytes_are: str) -> None:
    sha256 = keeper.put_blob(b"something")
    with keeper.database.writing() as uow:
        uow.session.execute(update(BlobRow).values(state="present" if bytes_are == "shorter" else "deleting"))
        uow.commit()
    if bytes_are == "gone":
        keeper.store.remove([sha256])
    if bytes_are == "shorter":
        damage(keeper, sha256, b"some")
    upload = begin(keeper, sha256, 9)
    keeper.uploads.receive(upload.id, 0, b"something")
    assert keeper.uploads.complete(upload.id) == sha256
    keeper.storage.gc(grace=3600)
    assert keeper.blob_path(sha256).read_bytes() == b"something"
    assert keeper.storage.check(deep=True, grace=0).ok


def damage(registry: Registry, sha256: str, content: bytes) -> None:
    """Leave other bytes at an address."""
    if isinstance(registry.store, LocalBlobs):
        path = registry.store.folder / sha256[:2] / sha256
        path.chmod(0o644)
        path.write_bytes(content)
    else:
        import obstore

        obstore.put(registry.store._bucket, f"{sha256[:2]}/{sha256}", content)  # type: ignore[attr-defined]

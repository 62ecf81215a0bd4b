"""Two senders of one piece of one upload."""

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import pytest

from registry import Conflict, Registry
from registry.blobs.store import PART_BYTES, BlobStore
from registry.blobs.uploads import Uploads

CONTENT = bytes(range(256)) * (PART_BYTES // 256) + b"the end"
FIRST, LAST = CONTENT[:PART_BYTES], CONTENT[PART_BYTES:]
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Overtaken:
    """A real store; before it stages a piece, another sender has sent the right one."""

    store: BlobStore
    uploads: Uploads

    def stage_part(self, upload: str, content: bytes) -> str:
        assert self.uploads.receive(upload, 0, FIRST).received == PART_BYTES
        return self.store.stage_part(upload, content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.mark.both_databases
def test_who_sends_a_piece_too_late_does_not_spoil_the_winners(keeper: Registry) -> None:
    upload = keeper.uploads.begin(SHA256, len(CONTENT), "ann")
    assert upload is not None
    late = Uploads(keeper.database, cast("BlobStore", Overtaken(keeper.store, keeper.uploads)))
    with pytest.raises(Conflict, match="somebody else sent the piece at 0"):
        late.receive(upload.id, 0, b"x" * PART_BYTES)
    assert [found.size for found in keeper.store.uploads()] == [PART_BYTES]
    keeper.uploads.receive(upload.id, PART_BYTES, LAST)
    assert keeper.uploads.complete(upload.id) == SHA256


def test_staged_bytes_are_no_piece_until_they_are_put(keeper: Registry) -> None:
    store = keeper.store
    one, other = store.stage_part("upload", b"one"), store.stage_part("upload", b"other")
    assert list(store.parts("upload")) == []
    store.put_part("upload", 0, one)
    store.drop_part("upload", other)
    store.drop_part("upload", other)
    assert list(store.parts("upload")) == [b"one"]
    store.drop_parts("upload")
    assert list(store.uploads()) == []

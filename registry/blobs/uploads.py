"""Uploads: bytes that arrive in pieces of 8 MiB, each kept as a part, streamed and hashed when all are there.

Whoever sends says first what it will be, by sha256 and size; so what is stored already is never sent, and what is
broken off goes on where it stopped, on any process that reaches the same store.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, select, update

from registry.blobs.staging import stage_copy
from registry.blobs.store import DIGEST_LENGTH, PART_BYTES, BlobStore
from registry.blobs.stored import place_blobs, record_blobs, sent
from registry.database import Database
from registry.dialect import now
from registry.errors import Conflict, NotFound, Refused
from registry.states import BlobState, LocationMode
from registry.tables import BlobRow, LocationRow, UploadRow
from registry.unit_of_work import UnitOfWork

LIFETIME_SECONDS = 24 * 3600
"""How long an upload waits for its next piece."""


@dataclass(frozen=True)
class Upload:
    """What is to arrive, and how much of it has."""

    id: str
    sha256: str
    size: int
    received: int
    principal: str
    expires_at: datetime


class Uploads:
    """The unfinished uploads of one registry."""

    def __init__(self, database: Database, store: BlobStore) -> None:
        self._database = database
        self._store = store

    def begin(self, sha256: str, size: int, principal: str) -> Upload | None:
        """Open an upload, or go on with the one that the same principal began; None where the blob is stored already.

        Raises Refused for what no content can be.
        """
        if len(sha256) != DIGEST_LENGTH or sha256.strip("0123456789abcdef") or size < 0:
            raise Refused(f"upload of sha256 {sha256!r}, {size} bytes: expected 64 hexadecimal digits and a size.")
        with self._database.writing() as uow:
            if _touch(uow, self._store, sha256):
                uow.commit()
                return None
            same = (UploadRow.sha256 == sha256, UploadRow.size == size, UploadRow.principal == principal)
            row = uow.session.scalar(select(UploadRow).where(*same, UploadRow.expires_at > now()).limit(1))
            if row is None:
                row = UploadRow(
                    id=secrets.token_hex(16),
                    sha256=sha256,
                    size=size,
                    received=0,
                    principal=principal,
                    expires_at=now(LIFETIME_SECONDS),
                )
                uow.session.add(row)
            uow.commit()
            return _upload(row)

    def get(self, key: str) -> Upload:
        """An upload that has not expired. Raises NotFound."""
        with self._database.reading() as uow:
            row = uow.session.scalar(select(UploadRow).where(UploadRow.id == key, UploadRow.expires_at > now()))
            if row is None:
                raise NotFound(f"no upload is called {key!r}, or its time is over. Begin it again.")
            return _upload(row)

    def receive(self, key: str, offset: int, content: bytes) -> Upload:
        """Keep the next piece: 8 MiB, the last one whatever is left. Raises Conflict for another offset and Refused."""
        upload = self.get(key)
        if offset != upload.received:
            raise Conflict(f"upload {key}: got a piece at {offset:,}, expected one at {upload.received:,}.")
        expected = min(PART_BYTES, upload.size - offset)
        if len(content) != expected or not content:
            raise Refused(f"upload {key}: got {len(content):,} bytes at {offset:,}, expected {expected:,}.")
        staged = self._store.stage_part(key, content)
        try:
            self._put(key, offset, staged, len(content))
        except BaseException:
            self._store.drop_part(key, staged)
            raise
        return self.get(key)

    def _put(self, key: str, offset: int, staged: str, size: int) -> None:
        """Make staged bytes the next piece, unless another sender's are; nobody's bytes replace the winner's."""
        with self._database.writing() as uow:
            here = update(UploadRow).where(UploadRow.id == key, UploadRow.received == offset)
            said = here.values(received=offset + size, expires_at=now(LIFETIME_SECONDS))
            if uow.session.scalar(said.returning(UploadRow.id)) is None:
                raise Conflict(f"upload {key}: somebody else sent the piece at {offset:,}. Ask where it is now.")
            self._store.put_part(key, offset, staged)
            uow.commit()

    def complete(self, key: str) -> str:
        """Hash all pieces and store them as a blob; its sha256.

        Raises Conflict where pieces are missing. Raises Refused, and forgets the upload, where the bytes are not what
        was announced.
        """
        upload = self.get(key)
        if upload.received != upload.size:
            raise Conflict(f"upload {key}: has {upload.received:,} of {upload.size:,} bytes. Send the others first.")
        with self._store.staging.open() as folder:
            whole = folder / "content"
            with whole.open("wb") as file:
                file.writelines(self._store.parts(key))
            staged = stage_copy(whole)
            if (staged.digests.sha256, staged.digests.size) != (upload.sha256, upload.size):
                self.cancel(key)
                raise Refused(
                    f"upload {key}: the bytes have sha256 {staged.digests.sha256}, announced was {upload.sha256}. "
                    "Send them again."
                )
            with sent(self._database, self._store, [staged]), self._database.writing() as uow:
                record_blobs(uow, [staged])
                uow.session.execute(delete(UploadRow).where(UploadRow.id == key))
                place_blobs(uow, self._store, [staged])
                uow.commit()
        self._store.drop_parts(key)
        return upload.sha256

    def cancel(self, key: str) -> None:
        """Forget an upload and its pieces; one that is not there is no error."""
        with self._database.writing() as uow:
            uow.session.execute(delete(UploadRow).where(UploadRow.id == key))
            uow.commit()
        self._store.drop_parts(key)


def _touch(uow: UnitOfWork, store: BlobStore, sha256: str) -> bool:
    """Mark a stored blob as used now, so that it stays until somebody refers to it; False where its bytes must be sent.

    A row alone proves nothing: garbage collection that was killed leaves rows whose bytes are gone.
    """
    stored = select(LocationRow.id).where(LocationRow.blob_sha256 == sha256, LocationRow.mode == LocationMode.STORED)
    here = (BlobRow.sha256 == sha256, BlobRow.state == BlobState.PRESENT)
    size = uow.session.scalar(select(BlobRow.size).where(*here, stored.exists()))
    if size is None or (found := store.find(sha256)) is None or found.size != size:
        return False
    uow.session.execute(update(BlobRow).where(*here).values(used_at=now()))
    return True


def _upload(row: UploadRow) -> Upload:
    return Upload(row.id, row.sha256, row.size, row.received, row.principal, row.expires_at)

"""Blobs with their rows: bytes are placed inside the transaction that records them."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from sqlalchemy import select

from registry.blobs import BlobStore, StagedFile, require_size, stage_bytes, stage_file
from registry.database import Database
from registry.dialect import upsert
from registry.errors import NotFound
from registry.tables import BlobRow, LocationRow
from registry.unit_of_work import UnitOfWork

STORED = "stored"


def record_blobs(uow: UnitOfWork, files: Iterable[StagedFile]) -> None:
    """Write the row of every content; a row that is there already stays as it is."""
    for file in files:
        digests = file.digests
        row = {
            "sha256": digests.sha256,
            "size": digests.size,
            "blake3": digests.blake3,
            "data_sha256": digests.data_sha256,
            "tensor_hash": digests.tensor_hash,
        }
        upsert(uow.session, BlobRow, row, key=("sha256",))


def place_blobs(uow: UnitOfWork, store: BlobStore, files: Iterable[StagedFile]) -> None:
    """Move the bytes of recorded blobs to their addresses, as the last thing before the commit."""
    for file in files:
        sha256 = file.digests.sha256
        if store.place(file):
            uow.undo_on_rollback(partial(store.remove, sha256))
        _record_location(uow, store, file)


def _record_location(uow: UnitOfWork, store: BlobStore, file: StagedFile) -> None:
    status = store.path_of(file.digests.sha256).stat()
    row = {
        "blob_sha256": file.digests.sha256,
        "uri": store.path_of(file.digests.sha256).relative_to(store.folder).as_posix(),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "mode": STORED,
    }
    upsert(uow.session, LocationRow, row, key=("uri",), update=("size", "mtime_ns", "inode"))


def put_blob(database: Database, store: BlobStore, content: Path | bytes) -> str:
    """Store bytes on their own, such as a picture; the sha256 that names them from now on."""
    with store.staging() as folder:
        target = folder / "content"
        staged = stage_bytes(content, target) if isinstance(content, bytes) else stage_file(content, target)
        with database.writing() as uow:
            record_blobs(uow, [staged])
            place_blobs(uow, store, [staged])
            uow.commit()
    return staged.digests.sha256


def blob_path(uow: UnitOfWork, store: BlobStore, sha256: str) -> Path:
    """Where a recorded blob lies. Raises NotFound and CorruptBlob."""
    here = select(LocationRow).where(LocationRow.blob_sha256 == sha256, LocationRow.mode == STORED).limit(1)
    location = uow.session.scalar(here)
    if location is None:
        raise NotFound(f"no blob has sha256 {sha256}.")
    return require_size(store.folder / location.uri, location.size)

"""Blobs with their rows: bytes are placed inside the transaction that records them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from formats.digests import Digests
from registry.blobs.filesystem import in_parallel
from registry.blobs.locations import Location, locations, verified
from registry.blobs.staging import FileStatus, StagedFile, stage_bytes, stage_file
from registry.blobs.store import BlobStore, key_of
from registry.database import Database
from registry.dialect import upsert_all
from registry.errors import CorruptBlob, NotFound, RegistryError
from registry.states import BlobState, LocationMode
from registry.storage.orphans import discard
from registry.tables import BlobHashRow, BlobRow, LocationRow
from registry.unit_of_work import UnitOfWork

T = TypeVar("T")


def record_blobs(uow: UnitOfWork, files: Iterable[StagedFile]) -> None:
    """Write the row of every content. One that is there already is marked as used now, and is ours until we commit:
    garbage collection cannot take it, and whoever else writes it waits. All go by digest, so nobody waits in a circle.
    """
    contents = {file.digests.sha256: file.digests for file in files}
    rows = [_blob(contents[sha256]) for sha256 in sorted(contents)]
    upsert_all(uow.session, BlobRow, rows, key=("sha256",), update=("state",), stamp="used_at")
    hashes = [
        {"blob_sha256": sha256, "kind": kind, "value": value}
        for sha256 in sorted(contents)
        for kind, value in contents[sha256].short.items()
    ]
    upsert_all(uow.session, BlobHashRow, hashes, key=("blob_sha256", "kind"))


def _blob(digests: Digests) -> dict[str, Any]:
    named = ("sha256", "size", "blake3", "data_sha256", "tensor_hash")
    return {name: getattr(digests, name) for name in named} | {"state": BlobState.PRESENT}


@contextmanager
def sent(database: Database, store: BlobStore, files: Sequence[StagedFile]) -> Iterator[None]:
    """Bring bytes near for a transaction inside; when it fails, take back what nobody else has recorded meanwhile."""
    fresh: list[str] = []

    def send(file: StagedFile) -> None:
        if store.send(file):
            fresh.append(file.digests.sha256)

    try:
        in_parallel(send, [file for file in files if file.in_place is None])
        yield
    except BaseException:
        if fresh:
            discard(database, store, fresh)
        raise


def place_blobs(uow: UnitOfWork, store: BlobStore, files: Iterable[StagedFile]) -> None:
    """Move the bytes of recorded blobs to their addresses, as the last thing before the commit."""
    contents = {file.digests.sha256: file for file in files}

    def place(sha256: str) -> None:
        if store.place(contents[sha256]):
            uow.undo_on_rollback(partial(store.remove, [sha256]))

    digests = sorted(contents)
    in_parallel(place, digests)
    store.settle(digests)
    record_stored(uow, store, digests)


def record_stored(uow: UnitOfWork, store: BlobStore, digests: Sequence[str]) -> None:
    """Write that the bytes of blobs are in the store. Raises CorruptBlob when they are not."""
    rows: dict[str, dict[str, Any]] = {}

    def find(sha256: str) -> None:
        rows[sha256] = _stored(store, sha256)

    in_parallel(find, digests)
    listed = [rows[sha256] for sha256 in sorted(rows)]
    upsert_all(uow.session, LocationRow, listed, key=("uri",), update=("size", "mtime_ns", "inode"))


def _stored(store: BlobStore, sha256: str) -> dict[str, Any]:
    found = store.find(sha256)
    if found is None:
        raise CorruptBlob(f"{store.address}: {sha256} is not there although it was just stored. Check the store.")
    status = FileStatus(found.size, int(found.modified * 1e9), 0)
    return {"blob_sha256": sha256, "uri": key_of(sha256), "mode": LocationMode.STORED, **vars(status)}


def put_blob(database: Database, store: BlobStore, content: Path | bytes, then: Callable[[UnitOfWork, str], T]) -> T:
    """Store bytes on their own, such as a picture, and record in the same transaction what they are for."""
    with store.staging.open() as folder:
        target = folder / "content"
        staged = stage_bytes(content, target) if isinstance(content, bytes) else stage_file(content, target)
        with sent(database, store, [staged]), database.writing() as uow:
            record_blobs(uow, [staged])
            result = then(uow, staged.digests.sha256)
            place_blobs(uow, store, [staged])
            uow.commit()
    return result


def blob_paths(database: Database, store: BlobStore, digests: Sequence[str]) -> dict[str, Path]:
    """A local path of each blob's bytes, to be read only. Raises NotFound and CorruptBlob."""
    wanted = sorted(set(digests))
    with database.reading() as uow:
        places = locations(uow, wanted)
        nowhere = [_nowhere(uow, sha256) for sha256 in wanted if sha256 not in places]
    if nowhere:
        raise nowhere[0]
    return {sha256: _first_sound(database, store, places[sha256]) for sha256 in wanted}


def _first_sound(database: Database, store: BlobStore, places: Sequence[Location]) -> Path:
    """The first place whose bytes are right. Raises what is wrong with the first one where none is."""
    wrong: list[CorruptBlob] = []
    for place in places:
        try:
            if place.mode == LocationMode.STORED:
                return store.path_of(place.sha256, place.status.size)
            return verified(database, place)
        except CorruptBlob as error:
            wrong.append(error)
    raise wrong[0]


def _nowhere(uow: UnitOfWork, sha256: str) -> RegistryError:
    if uow.session.get(BlobRow, sha256) is None:
        return NotFound(f"no blob has sha256 {sha256}.")
    return CorruptBlob(f"blob {sha256}: its bytes lie nowhere any more. Import the original file again.")

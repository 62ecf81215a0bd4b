"""Bytes that no row names: where they may be deleted, and when."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import select

from registry.blobs.store import BlobStore, Found, key_of
from registry.database import Database
from registry.tables import LocationRow
from registry.unit_of_work import UnitOfWork

PAGE = 500

T = TypeVar("T")


def discard(database: Database, store: BlobStore, digests: Sequence[str]) -> list[str]:
    """Delete the bytes of those `digests` that no row names; which ones that were.

    Looking and deleting happen under the lock under which an import looks whether bytes are there and commits.
    """
    with database.writing() as uow:
        loose = without_row(uow, digests)
        if loose:
            store.remove(loose)
    return loose


def without_row(uow: UnitOfWork, digests: Sequence[str]) -> list[str]:
    """Those of `digests` that are not recorded as stored."""
    keys = [key_of(sha256) for sha256 in digests]
    named = set(uow.session.scalars(select(LocationRow.uri).where(LocationRow.uri.in_(keys))))
    return [sha256 for sha256 in digests if key_of(sha256) not in named]


def find_orphans(database: Database, store: BlobStore) -> Iterator[Found]:
    """The bytes that no row names, by digest; the store is read page by page."""
    for page in pages(found for found in store.listed() if found.is_blob):
        with database.reading() as uow:
            loose = set(without_row(uow, [found.name for found in page]))
        yield from (found for found in page if found.name in loose)


def pages(items: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """`items` in lists of `size`, the last one shorter."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page

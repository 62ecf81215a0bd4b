"""What a registry holds, counted: models, versions, bytes by kind, pictures, jobs; and who has worked with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, distinct, func, select

from registry.database import Database
from registry.tables import (
    ArtifactRow,
    BlobRow,
    EventRow,
    FavouriteRow,
    JobRow,
    LocationRow,
    ModelRow,
    PreviewRow,
    PrincipalRow,
    VersionRow,
)
from registry.tables.columns import Base
from registry.unit_of_work import UnitOfWork


@dataclass(frozen=True)
class Stock:
    """The versions of one kind, and the bytes of their files; what several share counts with each."""

    versions: int
    bytes: int


@dataclass(frozen=True)
class Holdings:
    """How much there is of everything."""

    models: int
    versions: int
    blobs: int
    bytes: int
    """of all blobs, each once"""
    pictures: int
    jobs: int
    kinds: Mapping[str, Stock]
    places: Mapping[str, int]
    """mode of a location (stored, in-place) -> bytes that lie so"""


@dataclass(frozen=True)
class Person:
    """Somebody who is known as a principal, or has done something: role is None for who is in no list."""

    name: str
    role: str | None
    events: int
    last_seen: datetime | None
    favourites: int


def holdings(database: Database) -> Holdings:
    """Count everything; reads tables whole, so ask seldom."""
    with database.reading() as uow:
        blobs, size = uow.session.execute(select(func.count(), func.coalesce(func.sum(BlobRow.size), 0))).one()
        return Holdings(
            models=_count(uow, ModelRow),
            versions=_count(uow, VersionRow),
            blobs=blobs,
            bytes=int(size),
            pictures=_count(uow, PreviewRow),
            jobs=_count(uow, JobRow),
            kinds=_kinds(uow),
            places=_places(uow),
        )


def people(database: Database, *, limit: int = 200) -> tuple[Person, ...]:
    """Principals and whoever has done or kept something, those who did most first."""
    with database.reading() as uow:
        acted: dict[str, tuple[int, datetime | None]] = {
            name: (count, last)
            for name, count, last in uow.session.execute(
                select(EventRow.actor, func.count(), func.max(EventRow.at)).group_by(EventRow.actor)
            )
        }
        kept = _pairs(uow, select(FavouriteRow.principal, func.count()).group_by(FavouriteRow.principal))
        roles = dict(uow.session.execute(select(PrincipalRow.name, PrincipalRow.role)).all())
    names = sorted({*acted, *kept, *roles}, key=lambda name: (-acted.get(name, (0, None))[0], name))
    return tuple(
        Person(name, roles.get(name), count, last, kept.get(name, 0))
        for name in names[:limit]
        for count, last in [acted.get(name, (0, None))]
    )


def _count(uow: UnitOfWork, table: type[Base]) -> int:
    return uow.session.scalar(select(func.count()).select_from(table)) or 0


def _kinds(uow: UnitOfWork) -> dict[str, Stock]:
    query = (
        select(ModelRow.kind, func.count(distinct(VersionRow.id)), func.coalesce(func.sum(BlobRow.size), 0))
        .join(VersionRow, VersionRow.model_id == ModelRow.id)
        .join(ArtifactRow, ArtifactRow.version_id == VersionRow.id)
        .join(BlobRow, BlobRow.sha256 == ArtifactRow.blob_sha256)
        .group_by(ModelRow.kind)
        .order_by(ModelRow.kind)
    )
    return {kind: Stock(versions, int(size)) for kind, versions, size in uow.session.execute(query)}


def _places(uow: UnitOfWork) -> dict[str, int]:
    query = select(LocationRow.mode, func.sum(LocationRow.size)).group_by(LocationRow.mode).order_by(LocationRow.mode)
    return _pairs(uow, query)


def _pairs(uow: UnitOfWork, query: Select[str, int]) -> dict[str, int]:
    return {name: int(number) for name, number in uow.session.execute(query)}

"""What outside services and other tools say about versions: kept word for word, filled in only where nothing is known.

A statement never replaces what is recorded here, and a later failure replaces no earlier answer. Whatever a statement
filled in is written down with it, so that a wrong match can be unlinked and takes its facts with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, update

from registry.database import Database
from registry.dialect import now
from registry.errors import InvalidName, NotFound
from registry.history import record, record_model
from registry.names import title_of
from registry.references import resolve
from registry.states import LookupStatus
from registry.tables import LookupRow, TagRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Json

MODEL_FIELDS = ("title", "description", "license", "license_flags", "nsfw")
VERSION_FIELDS = ("author", "note", "trigger_words", "recommended_strength", "recommended_low", "recommended_high")
LONGEST_SERVICE = 32
LONGEST_TAG = 128


@dataclass(frozen=True)
class Offer:
    """Facts that a statement offers for the fields that are still blank."""

    title: str | None = None
    description: str | None = None
    license: str | None = None
    license_flags: Mapping[str, Any] = field(default_factory=dict)
    nsfw: bool = False
    author: str | None = None
    note: str | None = None
    trigger_words: tuple[str, ...] = ()
    recommended_strength: float | None = None
    recommended_low: float | None = None
    recommended_high: float | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statement:
    """What one document says: who says it, where it stands, the document itself, and the facts in it.

    `hashes` are those of the files that it is about, sha256 and AutoV3; empty where it names none.
    """

    service: str
    uri: str
    document: Json
    offer: Offer
    hashes: frozenset[str] = frozenset()

    def is_about(self, digits: str | None) -> bool:
        """Whether the document can be about a file of that hash, or where it is None, about several files."""
        return digits is None or not self.hashes or digits in self.hashes


@dataclass(frozen=True)
class Lookup:
    """One answer: who gave it, when, the words themselves, and which fields they filled in."""

    id: int
    version: str
    service: str
    asked_at: datetime
    status: str
    uri: str | None
    document: Json | None
    filled: tuple[str, ...]
    unlinked_at: datetime | None

    @property
    def is_linked(self) -> bool:
        """Whether it is an answer that nobody declared wrong."""
        return self.status == LookupStatus.FOUND and self.unlinked_at is None

    @property
    def verdict(self) -> str:
        """What came of it: found, unlinked, missing or failed."""
        return "unlinked" if self.unlinked_at is not None else self.status


class Lookups:
    """The statements about the versions of one registry."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def record(
        self,
        ref: str,
        service: str,
        status: str,
        *,
        uri: str | None = None,
        document: Json | None = None,
        offer: Offer | None = None,
        linked: bool = True,
    ) -> Lookup:
        """Keep an answer and fill in what is blank; `linked` false keeps the words alone. Raises NotFound."""
        with self.database.writing() as uow:
            version = resolve(uow, ref)
            row = record_statement(uow, version, service, status, uri, document, offer, linked=linked)
            lookup = _lookup(version, row)
            uow.commit()
        return lookup

    def of(self, ref: str) -> list[Lookup]:
        """Every answer about a version, oldest first."""
        with self.database.reading() as uow:
            version = resolve(uow, ref)
            rows = uow.session.scalars(_about(version).order_by(LookupRow.asked_at, LookupRow.id))
            return [_lookup(version, row) for row in rows]

    def unlink(self, ref: str, service: str | None = None) -> list[Lookup]:
        """Declare the answers of a service (of all of them, for None) wrong, and take back what they filled in.

        Raises NotFound where no such answer is linked.
        """
        with self.database.writing() as uow:
            version = resolve(uow, ref)
            linked = _about(version, service).where(LookupRow.status == LookupStatus.FOUND)
            rows = uow.session.scalars(
                linked.where(LookupRow.unlinked_at.is_(None)).order_by(LookupRow.id.desc())
            ).all()
            if not rows:
                whose = f"of {service}" if service else "of any service"
                raise NotFound(f"{version.model.slug}:{version.number}: no answer {whose} is linked to it.")
            for row in rows:
                _unlink(uow, version, row)
            lookups = [_lookup(version, row) for row in rows]
            uow.commit()
        return lookups


def keep_statement(uow: UnitOfWork, version: VersionRow, statement: Statement, sha256: str | None) -> LookupRow:
    """Keep a statement about a version, whose only file has that sha256; about other bytes, it fills in nothing."""
    said = (statement.uri, statement.document, statement.offer)
    linked = statement.is_about(sha256)
    return record_statement(uow, version, statement.service, LookupStatus.FOUND, *said, linked=linked)


def record_statement(
    uow: UnitOfWork,
    version: VersionRow,
    service: str,
    status: str,
    uri: str | None,
    document: Json | None,
    offer: Offer | None,
    *,
    linked: bool = True,
) -> LookupRow:
    """Keep an answer. The same words again are one row, as is the same failure, which then was asked about now.

    A match that was unlinked stays unlinked.
    """
    if not service or len(service) > LONGEST_SERVICE:
        raise InvalidName(f"service {service!r}: expected 1 to {LONGEST_SERVICE} characters.")
    said = None if document is None else _storable(document)
    earlier = uow.session.scalars(_about(version, service).order_by(LookupRow.id.desc())).all()
    for row in earlier:
        if row.status == status and row.uri == uri and _document(row) == said:
            return row if status == LookupStatus.FOUND else _asked_again(uow, row)
    rejected = any(
        row.unlinked_at is not None and row.uri == uri for row in earlier if row.status == LookupStatus.FOUND
    )
    is_linked = linked and not rejected and status == LookupStatus.FOUND
    filled = _fill(uow, version, offer) if is_linked and offer is not None else {}
    row = LookupRow(
        version_id=version.id,
        service=service,
        status=status,
        uri=uri,
        found={"document": said or {}, "filled": filled} if status == LookupStatus.FOUND else None,
        unlinked_at=None if is_linked or status != LookupStatus.FOUND else now(),
    )
    uow.session.add(row)
    uow.session.flush()
    uow.session.refresh(row)
    return row


def _asked_again(uow: UnitOfWork, row: LookupRow) -> LookupRow:
    uow.session.execute(update(LookupRow).where(LookupRow.id == row.id).values(asked_at=now()))
    uow.session.refresh(row)
    return row


def _about(version: VersionRow, service: str | None = None) -> Select[LookupRow]:
    own = select(LookupRow).where(LookupRow.version_id == version.id)
    return own if service is None else own.where(LookupRow.service == service)


def _lookup(version: VersionRow, row: LookupRow) -> Lookup:
    filled = tuple(sorted((row.found or {}).get("filled", {})))
    ref = f"{version.model.slug}:{version.number}"
    return Lookup(row.id, ref, row.service, row.asked_at, row.status, row.uri, _document(row), filled, row.unlinked_at)


def _document(row: LookupRow) -> Json | None:
    return None if row.found is None else row.found["document"]


def _fill(uow: UnitOfWork, version: VersionRow, offer: Offer) -> Json:
    """Put the offered facts where nothing is known; what was put, and what stood there before."""
    filled: Json = {}
    for fields, row in ((MODEL_FIELDS, version.model), (VERSION_FIELDS, version)):
        for name in fields:
            offered, present = _storable(getattr(offer, name)), getattr(row, name)
            if offered and _is_blank(version, name, present):
                setattr(row, name, offered)
                filled[name] = {"before": present, "after": offered}
    tags = _fill_tags(uow, version, _storable(offer.tags))
    if tags:
        filled["tags"] = {"before": [], "after": tags}
    _record(uow, version, "filled in", {name: change["after"] for name, change in filled.items()})
    return filled


def _is_blank(version: VersionRow, name: str, present: Any) -> bool:
    """Whether nothing was said: a title that was made of the model's name counts as nothing."""
    return not present or (name == "title" and present == title_of(version.model.slug))


def _fill_tags(uow: UnitOfWork, version: VersionRow, words: list[str]) -> list[str]:
    there = {tag.key for tag in version.tags}
    new = [word for word in dict.fromkeys(words) if word not in there and 0 < len(word) <= LONGEST_TAG]
    uow.session.add_all(TagRow(version_id=version.id, key=word, value="") for word in new)
    uow.session.flush()
    uow.session.expire(version, ["tags"])
    return new


def _unlink(uow: UnitOfWork, version: VersionRow, row: LookupRow) -> None:
    """Take back what this answer filled in, where it still stands as it was filled in."""
    taken: Json = {}
    for name, change in (row.found or {}).get("filled", {}).items():
        if name == "tags":
            taken[name] = [key for key in change["after"] if _drop_tag(uow, version, key)]
            continue
        owner = version.model if name in MODEL_FIELDS else version
        if getattr(owner, name) == change["after"]:
            setattr(owner, name, change["before"])
            taken[name] = change["after"]
    row.unlinked_at = now()
    uow.session.flush()
    uow.session.refresh(row)
    uow.session.expire(version, ["tags"])
    record(uow, "unlinked", version, before={"service": row.service, "uri": row.uri, "filled": taken})


def _drop_tag(uow: UnitOfWork, version: VersionRow, key: str) -> bool:
    tag = uow.session.get(TagRow, (version.id, key))
    if tag is None or tag.value:
        return False
    uow.session.delete(tag)
    return True


def _record(uow: UnitOfWork, version: VersionRow, action: str, after: Json) -> None:
    """One event for the model's fields, one for the version's."""
    of_model = {name: value for name, value in after.items() if name in MODEL_FIELDS}
    of_version = {name: value for name, value in after.items() if name not in MODEL_FIELDS}
    if of_model:
        record_model(uow, action, version.model, after=of_model)
    if of_version:
        record(uow, action, version, after=of_version)


def _storable(value: Any) -> Any:
    """JSON that every database takes: PostgreSQL knows neither NUL nor half a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode() if _is_odd(value) else value
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    return value


def _is_odd(text: str) -> bool:
    return "\0" in text or any(0xD800 <= ord(character) <= 0xDFFF for character in text)

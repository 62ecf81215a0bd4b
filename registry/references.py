"""References: the texts that name a version, and the version that each means now.

papercut              the newest published version; if none is published, the newest draft
papercut:3            version 3
papercut@production   what the alias means now
sha256:ab12cd34       a prefix, at least 8 digits, of a version's digest or of the sha256 of one of its files
"""

import difflib
import re
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, select
from sqlalchemy.orm import InstrumentedAttribute

from registry.errors import AmbiguousReference, InvalidReference, NotFound
from registry.states import State
from registry.tables import AliasPeriodRow, ArtifactRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork

PATTERN = re.compile(
    r"sha256:(?P<digest>[0-9a-f]{8,64})"
    r"|(?P<model>[a-z0-9][a-z0-9._-]*)(?::(?P<number>[1-9][0-9]{0,17})|@(?P<alias>[a-z0-9][a-z0-9._-]*))?"
)
NEAREST_FROM = 2_000
NEAREST_COUNT = 3
OFFER_ORDER = {State.PUBLISHED: 0, State.DRAFT: 1, State.DEPRECATED: 2, State.ARCHIVED: 3}


@dataclass(frozen=True)
class Reference:
    """A parsed reference; the fields that it does not use are None."""

    text: str
    digest: str | None
    model: str | None
    number: int | None
    alias: str | None


def parse_reference(text: str) -> Reference:
    """Take a reference apart. Raises InvalidReference."""
    match = PATTERN.fullmatch(text)
    if match is None:
        raise InvalidReference(
            f"reference {text!r}: expected NAME, NAME:NUMBER, NAME@ALIAS or sha256: and 8 to 64 hexadecimal digits."
        )
    number = match["number"]
    return Reference(text, match["digest"], match["model"], int(number) if number else None, match["alias"])


def resolve(uow: UnitOfWork, text: str) -> VersionRow:
    """The version that `text` means now. Raises InvalidReference, AmbiguousReference or NotFound."""
    reference = parse_reference(text)
    if reference.digest is not None:
        return _by_digest(uow, reference.digest)
    model = require_model(uow, str(reference.model))
    if reference.number is not None:
        return _by_number(uow, model, reference.number)
    if reference.alias is not None:
        return _by_alias(uow, model, reference.alias)
    return _by_name(uow, model)


def find_model(uow: UnitOfWork, slug: str) -> ModelRow | None:
    """The model of that name, if any."""
    return uow.session.scalar(select(ModelRow).where(ModelRow.slug == slug))


def require_model(uow: UnitOfWork, slug: str) -> ModelRow:
    """The model of that name. Raises NotFound with the nearest names."""
    model = find_model(uow, slug)
    if model is None:
        raise NotFound(f"no model is called {slug!r}.", nearest_models(uow, slug))
    return model


def nearest_models(uow: UnitOfWork, slug: str) -> list[str]:
    """The names most like `slug`, among those that begin alike, or else among the first ones."""
    begins = (
        select(ModelRow.slug).where(_begins(ModelRow.slug, slug[:1], "{")).order_by(ModelRow.slug).limit(NEAREST_FROM)
    )
    any_name = select(ModelRow.slug).order_by(ModelRow.slug).limit(NEAREST_FROM)
    for query in (begins, any_name):
        if near := difflib.get_close_matches(slug, uow.session.scalars(query).all(), NEAREST_COUNT):
            return near
    return []


def offered_first() -> ColumnElement[int]:
    """Orders versions as a bare name prefers them: published, draft, deprecated, archived."""
    return case(OFFER_ORDER, value=VersionRow.state)


def _by_name(uow: UnitOfWork, model: ModelRow) -> VersionRow:
    own = select(VersionRow).where(VersionRow.model_id == model.id)
    for state in (State.PUBLISHED, State.DRAFT, State.DEPRECATED):
        newest = own.where(VersionRow.state == state).order_by(VersionRow.number.desc()).limit(1)
        if row := uow.session.scalar(newest):
            return row
    raise NotFound(f"every version of {model.slug!r} is archived. Name one by its number, as in {model.slug}:1.")


def _by_number(uow: UnitOfWork, model: ModelRow, number: int) -> VersionRow:
    own = VersionRow.model_id == model.id
    row = uow.session.scalar(select(VersionRow).where(own, VersionRow.number == number))
    if row is None:
        newest = model.next_number - 1
        raise NotFound(f"{model.slug!r} has no version {number}, its newest is {newest}.", [f"{model.slug}:{newest}"])
    return row


def _by_alias(uow: UnitOfWork, model: ModelRow, alias: str) -> VersionRow:
    opened = (AliasPeriodRow.model_id == model.id, AliasPeriodRow.until.is_(None))
    join = select(VersionRow).join(AliasPeriodRow, AliasPeriodRow.version_id == VersionRow.id)
    row = uow.session.scalar(join.where(*opened, AliasPeriodRow.name == alias))
    if row is None:
        names = uow.session.scalars(select(AliasPeriodRow.name).where(*opened)).all()
        nearest = difflib.get_close_matches(alias, names, NEAREST_COUNT) or names[:NEAREST_COUNT]
        raise NotFound(f"{model.slug!r} has no alias {alias!r}.", [f"{model.slug}@{name}" for name in nearest])
    return row


def _by_digest(uow: UnitOfWork, prefix: str) -> VersionRow:
    by_version = select(VersionRow).where(_begins(VersionRow.digest, prefix, "g"))
    with_file = select(ArtifactRow.version_id).where(_begins(ArtifactRow.blob_sha256, prefix, "g"))
    rows: list[VersionRow] = []
    for query in (by_version, select(VersionRow).where(VersionRow.id.in_(with_file))):
        rows.extend(uow.session.scalars(query.order_by(offered_first(), VersionRow.id).limit(NEAREST_FROM)))
    if not rows:
        raise NotFound(f"no version and no file has a sha256 that begins {prefix}.")
    if len({row.digest for row in rows}) > 1:
        named = ", ".join(sorted({f"{row.model.slug}:{row.number}" for row in rows})[:NEAREST_COUNT])
        raise AmbiguousReference(f"sha256:{prefix} begins the digests of several versions: {named}. Name one of them.")
    return rows[0]


def _begins(column: InstrumentedAttribute[str], prefix: str, beyond: str) -> ColumnElement[bool]:
    """`column` begins with `prefix`, as a range that an index serves; `beyond` sorts after all its characters."""
    return (column >= prefix) & (column < prefix + beyond)

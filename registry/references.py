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

from registry.errors import AmbiguousReference, InvalidReference, NotFound, Removed
from registry.states import State
from registry.tables import AliasPeriodRow, ArtifactRow, ModelRow, VersionRow
from registry.unit_of_work import UnitOfWork

PATTERN = re.compile(
    r"sha256:(?P<digest>[0-9a-f]{8,64})"
    r"|(?P<model>[a-z0-9][a-z0-9._-]*)(?::(?P<number>[1-9][0-9]{0,17})|@(?P<alias>[a-z0-9][a-z0-9._-]*))?"
)
NEAREST_FROM = 2_000
NEAREST_COUNT = 3
OFFERED_BY_NAME = (State.PUBLISHED, State.DRAFT, State.DEPRECATED)
"""What a bare name means: the newest version of the first of these states that the model has any of."""

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
        return require_present(_by_number(uow, model, reference.number))
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
    alike = (
        select(ModelRow.slug).where(begins(ModelRow.slug, slug[:1], "{")).order_by(ModelRow.slug).limit(NEAREST_FROM)
    )
    any_name = select(ModelRow.slug).order_by(ModelRow.slug).limit(NEAREST_FROM)
    for query in (alike, any_name):
        if near := difflib.get_close_matches(slug, uow.session.scalars(query).all(), NEAREST_COUNT):
            return near
    return []


def offered_first() -> ColumnElement[int]:
    """Orders versions as a bare name prefers them: published, draft, deprecated, archived."""
    return case(OFFER_ORDER, value=VersionRow.state)


def _by_name(uow: UnitOfWork, model: ModelRow) -> VersionRow:
    own = select(VersionRow).where(VersionRow.model_id == model.id, VersionRow.removed_at.is_(None))
    for state in OFFERED_BY_NAME:
        newest = own.where(VersionRow.state == state).order_by(VersionRow.number.desc()).limit(1)
        if row := uow.session.scalar(newest):
            return row
    raise NotFound(
        f"every version of {model.slug!r} is archived or removed. Name an archived one by its number, as in "
        f"{model.slug}:1; `tau history {model.slug}` lists them."
    )


def _by_number(uow: UnitOfWork, model: ModelRow, number: int) -> VersionRow:
    own = VersionRow.model_id == model.id
    row = uow.session.scalar(select(VersionRow).where(own, VersionRow.number == number))
    if row is None:
        newest = model.next_number - 1
        raise NotFound(f"{model.slug!r} has no version {number}, its newest is {newest}.", [f"{model.slug}:{newest}"])
    return row


def require_present(version: VersionRow) -> VersionRow:
    """`version` itself. Raises Removed where it is a tombstone."""
    if version.removed_at is None:
        return version
    name = f"{version.model.slug}:{version.number}"
    raise Removed(
        f"{name} was removed by {version.removed_by} on {version.removed_at:%Y-%m-%d}. "
        f"To have it back: tau restore {name}"
    )


def find_removed(uow: UnitOfWork, text: str) -> VersionRow:
    """The version that `text`, NAME:NUMBER or sha256: and its whole digest, names, removed or not. Raises NotFound."""
    reference = parse_reference(text)
    if reference.number is not None:
        return _by_number(uow, require_model(uow, str(reference.model)), reference.number)
    newest = VersionRow.removed_at.desc()
    if reference.digest is not None:
        removed = (begins(VersionRow.digest, reference.digest, "g"), VersionRow.removed_at.is_not(None))
        row = uow.session.scalar(select(VersionRow).where(*removed).order_by(newest).limit(1))
    else:
        own = VersionRow.model_id == require_model(uow, str(reference.model)).id
        row = uow.session.scalar(select(VersionRow).where(own, VersionRow.removed_at.is_not(None)).order_by(newest))
    if row is None:
        raise NotFound(f"no removed version is called {text!r}. `tau history NAME` lists what was removed.")
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
    by_version = select(VersionRow).where(begins(VersionRow.digest, prefix))
    with_file = select(ArtifactRow.version_id).where(begins(ArtifactRow.blob_sha256, prefix))
    rows: list[VersionRow] = []
    for query in (by_version, select(VersionRow).where(VersionRow.id.in_(with_file))):
        rows.extend(uow.session.scalars(query.order_by(offered_first(), VersionRow.id).limit(NEAREST_FROM)))
    present = [row for row in rows if row.removed_at is None]
    if rows and not present:
        require_present(rows[0])
    rows = present
    if not rows:
        raise NotFound(f"no version and no file has a sha256 that begins {prefix}.")
    if len({row.digest for row in rows}) > 1:
        named = ", ".join(sorted({f"{row.model.slug}:{row.number}" for row in rows})[:NEAREST_COUNT])
        raise AmbiguousReference(f"sha256:{prefix} begins the digests of several versions: {named}. Name one of them.")
    return rows[0]


def begins(
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None], prefix: str, beyond: str = "g"
) -> ColumnElement[bool]:
    """`column` begins with `prefix`, as a range that an index serves; `beyond` sorts after all its characters.

    The default is for hexadecimal digits.
    """
    return (column >= prefix) & (column < prefix + beyond)

"""Pictures of what a version or a recipe paints, found by their subject or by what decides their pixels."""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import select

from registry.errors import InvalidReference, NotFound
from registry.history import record, record_subject
from registry.jobs.fencing import hold
from registry.jobs.lease import Lease
from registry.provenance import RECIPE, SHA256, require_recipe
from registry.references import resolve
from registry.tables import ModelRow, PreviewInitRow, PreviewRow, RecipeRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Json, Preview

KEYS_AT_ONCE: Final = 500
"""How many keys one statement asks for."""


def add_preview(
    uow: UnitOfWork,
    subject: str,
    picture: str,
    settings: Json,
    metrics: Json,
    *,
    key: str | None = None,
    lease: Lease | None = None,
) -> Preview:
    """Record a picture blob of what a version, or a recipe named by its sha256, paints; while `lease` is held.

    `key` is the digest of all that decides its pixels; `init` in the settings is that of the picture that the painting
    began with, which is kept as long as this one. Raises InvalidReference for one of
    them that is no digest.
    """
    if lease is not None:
        hold(uow, lease)
    if key is not None and not SHA256.fullmatch(key):
        raise InvalidReference(f"key {key!r} of a picture: expected 64 hexadecimal digits.")
    if (init := settings.get("init")) is not None and not SHA256.fullmatch(str(init)):
        raise InvalidReference(f"init {init!r} of a picture: expected 64 hexadecimal digits; keep it first.")
    version_id, recipe_id = _subject(uow, subject)
    row = PreviewRow(
        version_id=version_id,
        recipe_id=recipe_id,
        picture_sha256=picture,
        settings=settings,
        metrics=metrics,
        content_key=key,
    )
    uow.session.add(row)
    uow.session.flush()
    if init is not None:
        uow.session.add(PreviewInitRow(preview_id=row.id, blob_sha256=init))
    preview = _preview(uow, row)
    if version_id is None:
        record_subject(uow, "painted", preview.subject, after={"picture": picture})
    else:
        record(uow, "painted", uow.session.get_one(VersionRow, version_id), after={"picture": picture})
    return preview


def previews(uow: UnitOfWork, subject: str, limit: int) -> list[Preview]:
    """The pictures of a version or a recipe, newest first."""
    version_id, recipe_id = _subject(uow, subject)
    about = PreviewRow.version_id == version_id if version_id else PreviewRow.recipe_id == recipe_id
    rows = uow.session.scalars(select(PreviewRow).where(about).order_by(PreviewRow.id.desc()).limit(limit))
    return [_preview(uow, row) for row in rows]


def pictures(uow: UnitOfWork, keys: Iterable[str]) -> dict[str, Preview]:
    """Key -> the newest picture that was painted under it; keys without one are left out."""
    return {key: _preview(uow, row) for key, row in _newest(uow, list(dict.fromkeys(keys))).items()}


def record_metrics(uow: UnitOfWork, key: str, metrics: Json) -> Preview:
    """Add numbers to those of the newest picture of a key. Raises NotFound."""
    row = _newest(uow, [key]).get(key)
    if row is None:
        raise NotFound(f"no picture has the key {key}. Paint it first.")
    row.metrics = {**row.metrics, **metrics}
    uow.session.flush()
    return _preview(uow, row)


def _newest(uow: UnitOfWork, keys: Sequence[str]) -> dict[str, PreviewRow]:
    rows: dict[str, PreviewRow] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = PreviewRow.content_key.in_(keys[start : start + KEYS_AT_ONCE])
        found = select(PreviewRow).where(some).order_by(PreviewRow.id)
        rows |= {str(row.content_key): row for row in uow.session.scalars(found)}
    return rows


def _subject(uow: UnitOfWork, subject: str) -> tuple[int | None, int | None]:
    if subject.startswith(RECIPE) or SHA256.fullmatch(subject):
        return None, require_recipe(uow, subject.removeprefix(RECIPE)).id
    return resolve(uow, subject).id, None


def _preview(uow: UnitOfWork, row: PreviewRow) -> Preview:
    if row.recipe_id is not None:
        subject = RECIPE + uow.session.scalars(select(RecipeRow.sha256).where(RecipeRow.id == row.recipe_id)).one()
    else:
        named = select(ModelRow.slug, VersionRow.number).join(VersionRow).where(VersionRow.id == row.version_id)
        subject = ":".join(map(str, uow.session.execute(named).one()))
    return Preview(subject, row.settings, row.picture_sha256, row.metrics, row.created_at, row.content_key)

"""What is recorded beside versions: data sets, recipes, certificates, previews."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict

from sqlalchemy import select

from registry.errors import InvalidReference, NotFound
from registry.history import record, record_subject
from registry.jobs.fencing import hold
from registry.jobs.lease import Lease
from registry.lineage import find_dataset
from registry.names import require_slug
from registry.references import resolve
from registry.tables import CertificateRow, DatasetRow, ModelRow, PreviewRow, RecipeRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Dataset, Json, Preview, RecipeText

SAID_OF_DATASETS = ("uri", "license", "kind", "revision", "pictures", "left_out")
RECIPE = "recipe:"
RECIPE_SHOWN = 16
SHA256 = re.compile("[0-9a-f]{64}")


class DatasetFacts(TypedDict, total=False):
    """What may be said of a data set beside where it lies."""

    kind: str
    revision: str | None
    pictures: int
    left_out: int


def add_dataset(uow: UnitOfWork, found: Dataset) -> Dataset:
    """Record a data set, once for each content of it."""
    require_slug(found.name, "data set")
    same = (DatasetRow.name == found.name, DatasetRow.fingerprint == found.fingerprint)
    row = uow.session.scalar(select(DatasetRow).where(*same))
    after = _said_of(found)
    if row is None:
        uow.session.add(DatasetRow(**asdict(found)))
        uow.session.flush()
        record_subject(uow, "recorded", found.ref, after=after)
    elif (before := _said_of(row)) != after:
        for name in SAID_OF_DATASETS:
            setattr(row, name, getattr(found, name))
        record_subject(uow, "edited", found.ref, before=before, after=after)
    return found


def dataset_of(uow: UnitOfWork, ref: str) -> Dataset:
    """The data set that `dataset:NAME` or `dataset:NAME:FINGERPRINT` means. Raises NotFound."""
    row = find_dataset(uow, ref)
    return Dataset(row.name, row.fingerprint, **{name: getattr(row, name) for name in SAID_OF_DATASETS})


def _said_of(found: Dataset | DatasetRow) -> dict[str, Any]:
    said = {name: getattr(found, name) for name in SAID_OF_DATASETS}
    return {name: value for name, value in said.items() if value is not None or name in ("uri", "license")}


def add_recipe(uow: UnitOfWork, typed: str, locked: str, sha256: str) -> RecipeText:
    """Record a recipe, once for each locked text; the text typed first is kept."""
    row = uow.session.scalar(select(RecipeRow).where(RecipeRow.sha256 == sha256))
    if row is None:
        row = RecipeRow(typed=typed, locked=locked, sha256=sha256)
        uow.session.add(row)
        uow.session.flush()
        record_subject(uow, "recorded", f"{RECIPE}{sha256[:RECIPE_SHOWN]}", after={"typed": typed, "sha256": sha256})
    return recipe_text(row)


def require_recipe(uow: UnitOfWork, sha256: str) -> RecipeRow:
    """The recipe of that sha256. Raises NotFound."""
    row = uow.session.scalar(select(RecipeRow).where(RecipeRow.sha256 == sha256))
    if row is None:
        raise NotFound(f"no recipe has sha256 {sha256}. Record it with add_recipe first.")
    return row


def recipe_of(uow: UnitOfWork, ref: str) -> RecipeText | None:
    """The recipe that a version was composed by, None for other versions."""
    row = uow.session.get(RecipeRow, resolve(uow, ref).recipe_id or 0)
    return recipe_text(row) if row else None


def recipe_text(row: RecipeRow) -> RecipeText:
    """A recipe as it leaves the registry."""
    return RecipeText(row.typed, row.locked, row.sha256)


def add_certificate(uow: UnitOfWork, ref: str, certificate: Mapping[str, Any]) -> None:
    """Keep a proof about one file of a version; recording the same proof again changes nothing."""
    version = resolve(uow, ref)
    document = dict(certificate)
    missing = sorted({"file_sha256", "method", "engine_version", "worst_relative_error"} - document.keys())
    if missing:
        raise InvalidReference(f"certificate of {ref}: lacks {', '.join(missing)}. Pass Certificate.to_json().")
    _require_own_file(version, str(document["file_sha256"]))
    if certificate_of(uow, ref) == document:
        return
    columns = {key: document[key] for key in ("file_sha256", "method", "engine_version", "worst_relative_error")}
    uow.session.add(CertificateRow(version_id=version.id, certificate=document, **columns))
    record(uow, "certified", version, after={"worst_relative_error": document["worst_relative_error"]})


def certificate_of(uow: UnitOfWork, ref: str) -> Json | None:
    """The newest proof about a version."""
    own = select(CertificateRow).where(CertificateRow.version_id == resolve(uow, ref).id)
    row = uow.session.scalar(own.order_by(CertificateRow.id.desc()).limit(1))
    return row.certificate if row else None


def add_preview(
    uow: UnitOfWork, subject: str, picture: str, settings: Json, metrics: Json, lease: Lease | None = None
) -> Preview:
    """Record a picture blob of what a version, or a recipe named by its sha256, paints; while `lease` is held."""
    if lease is not None:
        hold(uow, lease)
    version_id, recipe_id = _subject(uow, subject)
    row = PreviewRow(
        version_id=version_id, recipe_id=recipe_id, picture_sha256=picture, settings=settings, metrics=metrics
    )
    uow.session.add(row)
    uow.session.flush()
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
    return Preview(subject, row.settings, row.picture_sha256, row.metrics, row.created_at)


def _require_own_file(version: VersionRow, sha256: str) -> None:
    own = {artifact.blob_sha256 for artifact in version.artifacts}
    if sha256 not in own:
        raise InvalidReference(
            f"certificate of {version.model.slug}:{version.number}: about a file that it lacks. "
            f"Got sha256 {sha256}, expected the sha256 of one of its files."
        )

"""What is recorded beside versions: data sets, recipes, certificates."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict

from sqlalchemy import select

from registry.errors import InvalidReference, NotFound
from registry.history import record, record_subject
from registry.lineage import find_dataset
from registry.names import require_slug
from registry.references import resolve
from registry.tables import CertificateRow, DatasetRow, RecipeRow, VersionRow
from registry.unit_of_work import UnitOfWork
from registry.values import Dataset, Json, RecipeText

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


def _require_own_file(version: VersionRow, sha256: str) -> None:
    own = {artifact.blob_sha256 for artifact in version.artifacts}
    if sha256 not in own:
        raise InvalidReference(
            f"certificate of {version.model.slug}:{version.number}: about a file that it lacks. "
            f"Got sha256 {sha256}, expected the sha256 of one of its files."
        )

"""What a page of cards shows beside its versions, asked for all of them at once: pictures, and what is kept at hand."""

from collections.abc import Iterable, Sequence

from sqlalchemy import func, select, text

from registry.database import Database
from registry.provenance import RECIPE
from registry.tables import ArchitectureRow, FavouriteRow, ModelRow, PreviewRow, RecipeRow, VersionRow
from registry.values import Preview, Version


def covers(database: Database, versions: Iterable[Version]) -> dict[str, Preview]:
    """Reference -> the newest picture of that version, or without one the newest of the recipe that composed it."""
    its_own = PreviewRow.version_id == VersionRow.id, PreviewRow.recipe_id == VersionRow.recipe_id
    own, of_recipe = (select(func.max(PreviewRow.id)).where(one).correlate(VersionRow) for one in its_own)
    newest = func.coalesce(own.scalar_subquery(), of_recipe.scalar_subquery())
    query = select(VersionRow.id, PreviewRow, RecipeRow.sha256).join(PreviewRow, PreviewRow.id == newest)
    query = query.outerjoin(RecipeRow, RecipeRow.id == PreviewRow.recipe_id)
    refs = {version.id: version.ref for version in versions}
    with database.reading() as uow:
        rows = uow.session.execute(query.where(VersionRow.id.in_(refs))).all()
        return {refs[key]: _cover(row, refs[key] if recipe is None else RECIPE + recipe) for key, row, recipe in rows}


def _cover(row: PreviewRow, subject: str) -> Preview:
    return Preview(subject, row.settings, row.picture_sha256, row.metrics, row.created_at)


def favourite_models(database: Database, models: Iterable[str], principal: str | None = None) -> frozenset[str]:
    """Those of `models` that a principal keeps at hand: the actor where none is named."""
    kept = select(ModelRow.slug).join(FavouriteRow, FavouriteRow.model_id == ModelRow.id)
    own = (FavouriteRow.principal == (principal or database.actor), ModelRow.slug.in_(sorted(set(models))))
    with database.reading() as uow:
        return frozenset(uow.session.scalars(kept.where(*own)))


def has_versions(database: Database) -> bool:
    """Whether there is a version that was not removed."""
    there = select(VersionRow.id).where(VersionRow.removed_at.is_(None)).limit(1)
    with database.reading() as uow:
        return uow.session.scalar(there) is not None


def families_of_bases(database: Database) -> tuple[str, ...]:
    """The families that imported bases brought along, by name; no module table is read."""
    with database.reading() as uow:
        return tuple(uow.session.scalars(select(ArchitectureRow.name).order_by(ArchitectureRow.name)))


def tag_keys(database: Database, limit: int) -> Sequence[str]:
    """The first keys of tags in the order of the alphabet, found by hopping along the index."""
    hops = text(
        "WITH RECURSIVE hop (key) AS (SELECT min(key) FROM tag UNION ALL "
        "SELECT (SELECT min(key) FROM tag WHERE key > hop.key) FROM hop WHERE hop.key IS NOT NULL) "
        "SELECT key FROM hop WHERE key IS NOT NULL LIMIT :limit"
    )
    with database.reading() as uow:
        return uow.session.scalars(hops, {"limit": limit}).all()

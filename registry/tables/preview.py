"""Pictures of what a version or a recipe paints."""

from sqlalchemy import CheckConstraint, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, BlobRef, Created, JsonObject, Key, big_integer


class PreviewRow(Base):
    """A picture blob, how it was painted, and what was measured on it."""

    __tablename__ = "preview"
    __table_args__ = (CheckConstraint("(version_id IS NULL) <> (recipe_id IS NULL)", name="has_one_subject"),)

    id: Mapped[Key]
    version_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("version.id"), index=True)
    recipe_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("recipe.id"), index=True)
    picture_sha256: Mapped[BlobRef]
    settings: Mapped[JsonObject]
    metrics: Mapped[JsonObject]
    created_at: Mapped[Created]

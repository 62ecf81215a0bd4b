"""Pictures of what a version or a recipe paints."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, BlobRef, Created, JsonObject, Key, big_integer, digest_text, is_digest

KEYED = text("content_key IS NOT NULL")


class PreviewRow(Base):
    """A picture blob, how it was painted, and what was measured on it.

    `content_key` is the digest of all that decides the pixels, so that what was painted once is found again.
    """

    __tablename__ = "preview"
    __table_args__ = (
        CheckConstraint("(version_id IS NULL) <> (recipe_id IS NULL)", name="has_one_subject"),
        is_digest("content_key"),
        Index("ix_preview_content_key", "content_key", sqlite_where=KEYED, postgresql_where=KEYED),
    )

    id: Mapped[Key]
    version_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("version.id"), index=True)
    recipe_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("recipe.id"), index=True)
    picture_sha256: Mapped[BlobRef]
    settings: Mapped[JsonObject]
    metrics: Mapped[JsonObject]
    created_at: Mapped[Created]
    content_key: Mapped[str | None] = mapped_column(digest_text)


class PreviewInitRow(Base):
    """The picture that a painting began with, which is needed as long as what was painted over it is kept."""

    __tablename__ = "preview_init"

    preview_id: Mapped[int] = mapped_column(big_integer, ForeignKey("preview.id"), primary_key=True)
    blob_sha256: Mapped[BlobRef]

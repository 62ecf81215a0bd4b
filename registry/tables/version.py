"""Versions and what hangs on them: files, tags, origin."""

from typing import TYPE_CHECKING, Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.states import OriginKind, State
from registry.tables.blob import BlobRow
from registry.tables.columns import (
    Base,
    BlobRef,
    Count,
    Created,
    Digest,
    Key,
    MaybeMoment,
    Name,
    VersionKey,
    big_integer,
    is_digest,
    is_one_of,
    json_object,
    json_said,
    json_searched,
    path_text,
)

if TYPE_CHECKING:
    from registry.tables.alias import AliasPeriodRow
    from registry.tables.facts import AdapterFactsRow
    from registry.tables.model import ModelRow


class VersionRow(Base):
    """One content of a model; `digest` is over its sorted (path, sha256), so importing again finds it.

    A removed version keeps its row and its number: `removed_at` and `removed_by` are its tombstone.
    """

    __tablename__ = "version"
    __table_args__ = (
        UniqueConstraint("model_id", "number"),
        UniqueConstraint("model_id", "digest"),
        UniqueConstraint("model_id", "id"),
        Index(None, "model_id", "state", "number"),
        Index(None, "created_at"),
        is_digest("digest"),
        is_one_of("state", list(State)),
        CheckConstraint("number >= 1", name="number_is_positive"),
        CheckConstraint("(removed_at IS NULL) = (removed_by IS NULL)", name="is_removed_by_somebody"),
        CheckConstraint("recommended_low <= recommended_high", name="recommends_a_range"),
    )

    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(big_integer, ForeignKey("model.id"))
    number: Mapped[Count]
    digest: Mapped[Digest] = mapped_column(index=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    author: Mapped[str | None]
    note: Mapped[str | None]
    recommended_strength: Mapped[float | None]
    trigger_words: Mapped[list[str]] = mapped_column(json_searched)
    sampling: Mapped[dict[str, Any]] = mapped_column(json_said)
    recipe_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("recipe.id"), index=True)
    created_at: Mapped[Created]
    removed_at: Mapped[MaybeMoment]
    removed_by: Mapped[str | None]
    recommended_low: Mapped[float | None]
    recommended_high: Mapped[float | None]

    model: Mapped["ModelRow"] = relationship(back_populates="versions")
    artifacts: Mapped[list["ArtifactRow"]] = relationship(order_by="ArtifactRow.path")
    tags: Mapped[list["TagRow"]] = relationship(order_by="TagRow.key")
    facts: Mapped["AdapterFactsRow | None"] = relationship()
    origin: Mapped["OriginRow | None"] = relationship()
    alias_periods: Mapped[list["AliasPeriodRow"]] = relationship(
        primaryjoin="and_(AliasPeriodRow.version_id == VersionRow.id, AliasPeriodRow.until.is_(None))",
        order_by="AliasPeriodRow.name",
        viewonly=True,
    )


class ArtifactRow(Base):
    """One file of a version: a diffusers folder is many."""

    __tablename__ = "artifact"
    __table_args__ = (CheckConstraint("path <> ''", name="path_is_not_empty"),)

    version_id: Mapped[VersionKey]
    path: Mapped[str] = mapped_column(path_text, primary_key=True)
    role: Mapped[str] = mapped_column(String(64))
    blob_sha256: Mapped[BlobRef]
    media_type: Mapped[str]

    blob: Mapped[BlobRow] = relationship()


class TagRow(Base):
    """A key and a value on a version."""

    __tablename__ = "tag"
    __table_args__ = (Index(None, "key", "value"), CheckConstraint("key <> ''", name="key_is_not_empty"))

    version_id: Mapped[VersionKey]
    key: Mapped[Name] = mapped_column(primary_key=True)
    value: Mapped[str]


class OriginRow(Base):
    """Where a version came from, with the metadata that its file carried, verbatim."""

    __tablename__ = "origin"
    __table_args__ = (is_one_of("kind", list(OriginKind)),)

    version_id: Mapped[VersionKey]
    kind: Mapped[str] = mapped_column(String(16))
    uri: Mapped[str] = mapped_column(index=True)
    revision: Mapped[str | None]
    embedded: Mapped[dict[str, Any]] = mapped_column(json_object)

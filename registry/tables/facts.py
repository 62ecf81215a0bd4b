"""What identification found, and the module tables of bases."""

from sqlalchemy import CheckConstraint, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import (
    Base,
    Count,
    Flag,
    JsonObject,
    Key,
    Name,
    VersionKey,
    VersionRef,
    digest_text,
    is_digest,
    is_slug,
)


class AdapterFactsRow(Base):
    """One per version: the columns that are searched, and the whole identification with its evidence."""

    __tablename__ = "adapter_facts"
    __table_args__ = (
        is_digest("layout_hash"),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence_is_a_share"),
    )

    version_id: Mapped[VersionKey]
    identifier: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    family: Mapped[str] = mapped_column(String(128), index=True)
    adapter: Mapped[str] = mapped_column(String(64), index=True)
    layout: Mapped[str] = mapped_column(String(64))
    rank: Mapped[int | None] = mapped_column(index=True)
    alpha: Mapped[float | None]
    dtype: Mapped[str | None] = mapped_column(String(16))
    modules: Mapped[int]
    parameters: Mapped[Count]
    architecture: Mapped[str | None] = mapped_column(String(128))
    identification: Mapped[JsonObject]
    layout_hash: Mapped[str | None] = mapped_column(digest_text, index=True)
    prediction_type: Mapped[str | None] = mapped_column(String(32))
    confidence: Mapped[float] = mapped_column(server_default=text("0"))
    dora: Mapped[Flag]


class ArchitectureRow(Base):
    """The module names and weight shapes of a base whose architecture is not a shipped one."""

    __tablename__ = "architecture"
    __table_args__ = (UniqueConstraint("name"), is_slug("name"))

    id: Mapped[Key]
    name: Mapped[Name]
    version_id: Mapped[VersionRef]
    modules: Mapped[JsonObject]

"""What identification found, and the module tables of bases."""

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Count, JsonObject, Key, VersionKey, VersionRef, is_slug


class AdapterFactsRow(Base):
    """One per version: the columns that are searched, and the whole identification with its evidence."""

    __tablename__ = "adapter_facts"

    version_id: Mapped[VersionKey]
    identifier: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(16))
    family: Mapped[str] = mapped_column(String(128), index=True)
    adapter: Mapped[str] = mapped_column(String(64), index=True)
    layout: Mapped[str] = mapped_column(String(64))
    rank: Mapped[int | None]
    alpha: Mapped[float | None]
    dtype: Mapped[str | None] = mapped_column(String(16))
    modules: Mapped[int]
    parameters: Mapped[Count]
    architecture: Mapped[str | None] = mapped_column(String(128))
    identification: Mapped[JsonObject]


class ArchitectureRow(Base):
    """The module names and weight shapes of a base whose architecture is not a shipped one."""

    __tablename__ = "architecture"
    __table_args__ = (UniqueConstraint("name"), is_slug("name"))

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(128))
    version_id: Mapped[VersionRef]
    modules: Mapped[JsonObject]

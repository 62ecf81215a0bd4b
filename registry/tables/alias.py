"""Aliases as periods: what `production` meant on any day is a plain query."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.dialect import Instant
from registry.tables.columns import Base, Key, Moment, Name, big_integer, is_slug


class AliasPeriodRow(Base):
    """`name` meant this version of its own model from `since` to `until` (null: it still does)."""

    __tablename__ = "alias_period"
    __table_args__ = (
        ForeignKeyConstraint(["model_id", "version_id"], ["version.model_id", "version.id"]),
        Index(
            "uq_alias_period_open",
            "model_id",
            "name",
            unique=True,
            sqlite_where=text("until IS NULL"),
            postgresql_where=text("until IS NULL"),
        ),
        Index(None, "model_id", "name", "since"),
        Index(None, "version_id"),
        is_slug("name"),
        CheckConstraint("until IS NULL OR until >= since", name="ends_after_it_begins"),
    )

    id: Mapped[Key]
    model_id: Mapped[int] = mapped_column(big_integer)
    version_id: Mapped[int] = mapped_column(big_integer)
    name: Mapped[Name]
    since: Mapped[Moment]
    until: Mapped[datetime | None] = mapped_column(Instant)

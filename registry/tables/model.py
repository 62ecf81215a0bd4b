"""Models: the names that people use."""

from typing import Any

from sqlalchemy import CheckConstraint, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from registry.tables.columns import (
    Base,
    Count,
    Created,
    Flag,
    Key,
    MaybeMoment,
    Name,
    is_one_of,
    is_slug,
    json_searched,
)
from registry.tables.version import VersionRow
from registry.values import Kind


class ModelRow(Base):
    """A slug, what it is for, and the number that its next version gets (numbers are never reused)."""

    __tablename__ = "model"
    __table_args__ = (
        UniqueConstraint("slug"),
        is_slug("slug"),
        is_one_of("kind", list(Kind)),
        CheckConstraint("next_number >= 1", name="next_number_is_positive"),
    )

    id: Mapped[Key]
    slug: Mapped[Name]
    title: Mapped[str]
    kind: Mapped[str] = mapped_column(String(16), index=True)
    description: Mapped[str] = mapped_column(default="")
    license: Mapped[str | None]
    owner: Mapped[str]
    next_number: Mapped[Count] = mapped_column(default=1)
    created_at: Mapped[Created]
    license_flags: Mapped[dict[str, Any]] = mapped_column(json_searched, default=dict, server_default=text("'{}'"))
    archived_at: Mapped[MaybeMoment]
    nsfw: Mapped[Flag] = mapped_column(default=False)

    versions: Mapped[list[VersionRow]] = relationship(back_populates="model")

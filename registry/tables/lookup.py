"""What outside services say about versions."""

from typing import Any

from sqlalchemy import CheckConstraint, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.states import LookupStatus
from registry.tables.columns import Base, Created, Key, MaybeMoment, VersionRef, is_one_of, json_object


class LookupRow(Base):
    """One answer to one question; kept beside what is known here, never in its place."""

    __tablename__ = "lookup"
    __table_args__ = (
        Index(None, "version_id", "service", "id"),
        is_one_of("status", list(LookupStatus)),
        CheckConstraint("(status = 'found') = (found IS NOT NULL)", name="says_what_it_found"),
    )

    id: Mapped[Key]
    version_id: Mapped[VersionRef] = mapped_column(index=False)
    service: Mapped[str] = mapped_column(String(32))
    asked_at: Mapped[Created]
    status: Mapped[str] = mapped_column(String(16))
    uri: Mapped[str | None]
    found: Mapped[dict[str, Any] | None] = mapped_column(json_object)
    unlinked_at: Mapped[MaybeMoment]

"""The catalog's history."""

from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Created, Key, big_integer, json_object


class EventRow(Base):
    """Who did what to what; append-only by trigger. `subject` is how it was named at that moment."""

    __tablename__ = "event"
    __table_args__ = (Index(None, "model_id", "id"),)

    id: Mapped[Key]
    at: Mapped[Created]
    actor: Mapped[str]
    subject: Mapped[str]
    model_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("model.id"))
    version_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("version.id"), index=True)
    action: Mapped[str] = mapped_column(String(32))
    before: Mapped[dict[str, Any] | None] = mapped_column(json_object)
    after: Mapped[dict[str, Any] | None] = mapped_column(json_object)

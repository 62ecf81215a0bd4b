"""Data sets: pictures and captions that something was trained on."""

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Created, Digest, Key, is_digest, is_slug


class DatasetRow(Base):
    """A name and the fingerprint of one content of it."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("name", "fingerprint"), is_slug("name"), is_digest("fingerprint"))

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(128))
    fingerprint: Mapped[Digest]
    uri: Mapped[str]
    license: Mapped[str | None]
    created_at: Mapped[Created]

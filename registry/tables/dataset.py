"""Data sets: pictures and captions that something was trained on."""

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped

from registry.tables.columns import Base, Created, Digest, Key, Name, is_digest, is_slug


class DatasetRow(Base):
    """A name and the fingerprint of one content of it."""

    __tablename__ = "dataset"
    __table_args__ = (UniqueConstraint("name", "fingerprint"), is_slug("name"), is_digest("fingerprint"))

    id: Mapped[Key]
    name: Mapped[Name]
    fingerprint: Mapped[Digest]
    uri: Mapped[str]
    license: Mapped[str | None]
    created_at: Mapped[Created]

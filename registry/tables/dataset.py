"""Data sets: pictures and captions that something was trained on."""

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Created, Digest, Key, Name, big_integer, is_digest, is_slug


class DatasetRow(Base):
    """A name and the fingerprint of one content of it.

    `kind` is how the pictures lie (folder, parquet, webdataset); of `pictures` and the corrupt ones that were
    `left_out` on request the numbers are kept.
    """

    __tablename__ = "dataset"
    __table_args__ = (
        UniqueConstraint("name", "fingerprint"),
        is_slug("name"),
        is_digest("fingerprint"),
        CheckConstraint("pictures > 0", name="has_pictures"),
        CheckConstraint("left_out >= 0", name="left_out_is_not_negative"),
    )

    id: Mapped[Key]
    name: Mapped[Name]
    fingerprint: Mapped[Digest]
    uri: Mapped[str]
    license: Mapped[str | None]
    kind: Mapped[str | None]
    revision: Mapped[str | None]
    pictures: Mapped[int | None] = mapped_column(big_integer)
    left_out: Mapped[int | None] = mapped_column(big_integer)
    created_at: Mapped[Created]

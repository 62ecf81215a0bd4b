"""Bytes, known by what they are, and where they lie."""

from sqlalchemy import CheckConstraint, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, BlobRef, Count, Created, Key, digest_text, is_digest, is_one_of


class BlobRow(Base):
    """One row per content; the other digests are null where the content is no safetensors file."""

    __tablename__ = "blob"
    __table_args__ = (
        is_digest("sha256"),
        is_digest("blake3"),
        is_digest("data_sha256"),
        is_digest("tensor_hash"),
        CheckConstraint("size >= 0", name="size_is_not_negative"),
    )

    sha256: Mapped[str] = mapped_column(digest_text, primary_key=True)
    size: Mapped[Count]
    blake3: Mapped[str] = mapped_column(digest_text, index=True)
    data_sha256: Mapped[str | None] = mapped_column(digest_text, index=True)
    tensor_hash: Mapped[str | None] = mapped_column(digest_text, index=True)
    created_at: Mapped[Created]


class LocationRow(Base):
    """Where a blob's bytes lie: a stored one under the blob folder, an in-place one wherever its owner keeps it."""

    __tablename__ = "location"
    __table_args__ = (UniqueConstraint("uri"), is_one_of("mode", ["stored", "in-place"]))

    id: Mapped[Key]
    blob_sha256: Mapped[BlobRef]
    uri: Mapped[str]
    size: Mapped[Count]
    mtime_ns: Mapped[Count]
    inode: Mapped[Count]
    mode: Mapped[str] = mapped_column(String(16))

"""Bytes, known by what they are, and where they lie."""

from sqlalchemy import CheckConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.states import BlobState, LocationMode
from registry.tables.columns import (
    Base,
    BlobRef,
    Count,
    Created,
    Key,
    MaybeMoment,
    digest_text,
    is_digest,
    is_hash,
    is_one_of,
)

SHORT_HASHES = ("autov1", "autov3", "crc32", "modelspec", "sshs_model", "sshs_legacy")
"""The field's hashes that are no beginning of another digest; the shortest has 8 digits."""

_deleting = text("state = 'deleting'")


class BlobRow(Base):
    """One row per content; the other digests are null where the content is no safetensors file.

    `used_at` is when the same bytes were brought in again; null: not since `created_at`.
    """

    __tablename__ = "blob"
    __table_args__ = (
        is_digest("sha256"),
        is_digest("blake3"),
        is_digest("data_sha256"),
        is_digest("tensor_hash"),
        is_one_of("state", list(BlobState)),
        CheckConstraint("size >= 0", name="size_is_not_negative"),
        Index("ix_blob_deleting", "sha256", sqlite_where=_deleting, postgresql_where=_deleting),
    )

    sha256: Mapped[str] = mapped_column(digest_text, primary_key=True)
    size: Mapped[Count]
    blake3: Mapped[str] = mapped_column(digest_text, index=True)
    data_sha256: Mapped[str | None] = mapped_column(digest_text, index=True)
    tensor_hash: Mapped[str | None] = mapped_column(digest_text, index=True)
    created_at: Mapped[Created]
    state: Mapped[str] = mapped_column(String(16), server_default=BlobState.PRESENT)
    used_at: Mapped[MaybeMoment]


class BlobHashRow(Base):
    """A short hash by which other tools know a blob."""

    __tablename__ = "blob_hash"
    __table_args__ = (is_one_of("kind", list(SHORT_HASHES)), is_hash("value", digits=8))

    blob_sha256: Mapped[BlobRef] = mapped_column(primary_key=True, index=False)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[str] = mapped_column(digest_text, index=True)


class LocationRow(Base):
    """Where a blob's bytes lie, or lay when they were looked at: a re-scan compares size, mtime and inode with it."""

    __tablename__ = "location"
    __table_args__ = (UniqueConstraint("uri"), is_one_of("mode", list(LocationMode)))

    id: Mapped[Key]
    blob_sha256: Mapped[BlobRef]
    uri: Mapped[str]
    size: Mapped[Count]
    mtime_ns: Mapped[Count]
    inode: Mapped[Count]
    mode: Mapped[str] = mapped_column(String(16))
    checked_at: Mapped[MaybeMoment]

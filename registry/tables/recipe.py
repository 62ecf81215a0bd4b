"""Recipes, and the proofs that files are what their recipes say."""

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Created, Digest, JsonObject, Key, VersionRef, is_digest


class RecipeRow(Base):
    """A recipe as typed and as locked, keyed by the sha256 of its locked text."""

    __tablename__ = "recipe"
    __table_args__ = (UniqueConstraint("sha256"), is_digest("sha256"))

    id: Mapped[Key]
    sha256: Mapped[Digest]
    typed: Mapped[str]
    locked: Mapped[str]
    created_at: Mapped[Created]


class CertificateRow(Base):
    """What was measured about one file of one version; the newest counts."""

    __tablename__ = "certificate"
    __table_args__ = (is_digest("file_sha256"),)

    id: Mapped[Key]
    version_id: Mapped[VersionRef]
    file_sha256: Mapped[Digest] = mapped_column(index=True)
    method: Mapped[str]
    engine_version: Mapped[str]
    worst_relative_error: Mapped[float]
    certificate: Mapped[JsonObject]
    created_at: Mapped[Created]

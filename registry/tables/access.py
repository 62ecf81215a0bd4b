"""Who may do what over HTTP, and what each has put aside."""

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from registry.states import Role
from registry.tables.columns import (
    Base,
    Count,
    Created,
    Digest,
    Key,
    MaybeMoment,
    ModelKey,
    Moment,
    big_integer,
    is_digest,
    is_one_of,
    json_searched,
)


class PrincipalRow(Base):
    """A person or a program, and what it may do at most."""

    __tablename__ = "principal"
    __table_args__ = (
        UniqueConstraint("name"),
        is_one_of("role", list(Role)),
        CheckConstraint("name <> ''", name="name_is_not_empty"),
    )

    id: Mapped[Key]
    name: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[Created]


class TokenRow(Base):
    """A secret that stands for a principal: its sha256 alone is kept."""

    __tablename__ = "token"
    __table_args__ = (UniqueConstraint("hash"), is_digest("hash"))

    id: Mapped[Key]
    principal_id: Mapped[int] = mapped_column(big_integer, ForeignKey("principal.id"), index=True)
    hash: Mapped[Digest]
    scopes: Mapped[list[str]] = mapped_column(json_searched)
    created_at: Mapped[Created]
    expires_at: Mapped[MaybeMoment]
    revoked_at: Mapped[MaybeMoment]


class UploadRow(Base):
    """Bytes that arrive in pieces, until they are whole and verified, or until `expires_at`."""

    __tablename__ = "upload"
    __table_args__ = (is_digest("sha256"), CheckConstraint("received BETWEEN 0 AND size", name="fits_its_size"))

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[Digest] = mapped_column(index=True)
    size: Mapped[Count]
    received: Mapped[Count]
    principal: Mapped[str]
    created_at: Mapped[Created]
    expires_at: Mapped[Moment] = mapped_column(index=True)


class FavouriteRow(Base):
    """A model that somebody wants at hand."""

    __tablename__ = "favourite"

    principal: Mapped[str] = mapped_column(primary_key=True)
    model_id: Mapped[ModelKey] = mapped_column(index=True)

"""The column idioms that the tables share, each named once."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer, MetaData, String, false
from sqlalchemy.orm import DeclarativeBase, mapped_column

from registry.dialect import Instant, PlainJson, PlainText, now

HEX = "0123456789abcdef"
SLUG = "abcdefghijklmnopqrstuvwxyz0123456789._-"

big_integer = BigInteger().with_variant(Integer, "sqlite")
digest_text = String(64).with_variant(String(64, collation="C"), "postgresql")
name_text = String(128).with_variant(String(128, collation="C"), "postgresql")
"""Text of the alphabets that we check: one order everywhere, so that a range finds what begins alike."""

path_text = PlainText().with_variant(PlainText(collation="C"), "postgresql")
json_object = PlainJson(verbatim=True)
"""Kept as it was said: PostgreSQL's JSONB would sort the keys, and refuse texts that a file's metadata may hold."""

json_said = PlainJson()
"""What a person says: its texts are such as a column of text takes."""

json_searched = PlainJson(searched=True)
"""JSON of our own making that queries look into."""


Key = Annotated[int, mapped_column(big_integer, primary_key=True)]
Count = Annotated[int, mapped_column(big_integer)]
Digest = Annotated[str, mapped_column(digest_text)]
Moment = Annotated[datetime, mapped_column(Instant)]
Created = Annotated[datetime, mapped_column(Instant, default=now())]
Name = Annotated[str, mapped_column(name_text)]
MaybeMoment = Annotated[datetime | None, mapped_column(Instant)]
Flag = Annotated[bool, mapped_column(server_default=false())]
JsonObject = Annotated[dict[str, Any], mapped_column(json_object)]
BlobRef = Annotated[str, mapped_column(digest_text, ForeignKey("blob.sha256"), index=True)]
ModelKey = Annotated[int, mapped_column(big_integer, ForeignKey("model.id"), primary_key=True)]
VersionRef = Annotated[int, mapped_column(big_integer, ForeignKey("version.id"), index=True)]
VersionKey = Annotated[int, mapped_column(big_integer, ForeignKey("version.id"), primary_key=True)]


class Base(DeclarativeBase):
    """Root of the declared schema; constraint names are fixed so that a migration can name them."""

    type_annotation_map: ClassVar = {str: PlainText()}
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


def is_digest(column: str) -> CheckConstraint:
    """64 lower-case hexadecimal digits (`ltrim` with a set of characters means the same on every database we use)."""
    return CheckConstraint(f"length({column}) = 64 AND ltrim({column}, '{HEX}') = ''", name=f"{column}_is_digest")


def is_hash(column: str, digits: int) -> CheckConstraint:
    """At least `digits` lower-case hexadecimal digits, at most those of a digest."""
    condition = f"length({column}) BETWEEN {digits} AND 64 AND ltrim({column}, '{HEX}') = ''"
    return CheckConstraint(condition, name=f"{column}_is_hash")


def is_slug(column: str) -> CheckConstraint:
    """`[a-z0-9][a-z0-9._-]*`, at most 128 characters."""
    return CheckConstraint(
        f"length({column}) BETWEEN 1 AND 128 AND ltrim({column}, '{SLUG}') = '' "
        f"AND substr({column}, 1, 1) NOT IN ('.', '_', '-')",
        name=f"{column}_is_slug",
    )


def is_one_of(column: str, values: list[str]) -> CheckConstraint:
    """A closed list of words."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")

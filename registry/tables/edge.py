"""Lineage: what a version was made from."""

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, Created, Key, VersionRef, big_integer, is_one_of
from registry.values import Relation

PARENTS = ("parent_id", "dataset_id", "job_id", "external")


def _once_per(parent: str) -> Index:
    """The same parent cannot stand twice at one position."""
    there = text(f"{parent} IS NOT NULL")
    columns = ("child_id", "relation", "position", parent)
    return Index(f"uq_edge_{parent}", *columns, unique=True, sqlite_where=there, postgresql_where=there)


class EdgeRow(Base):
    """A child and exactly one parent: a version, a data set, a job, or a text for something outside."""

    __tablename__ = "edge"
    __table_args__ = (
        is_one_of("relation", list(Relation)),
        CheckConstraint(
            " + ".join(f"CASE WHEN {parent} IS NULL THEN 0 ELSE 1 END" for parent in PARENTS) + " = 1",
            name="has_one_parent",
        ),
        CheckConstraint("parent_id IS NULL OR parent_id <> child_id", name="is_no_loop"),
        *map(_once_per, PARENTS),
    )

    id: Mapped[Key]
    child_id: Mapped[VersionRef]
    parent_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("version.id"), index=True)
    dataset_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("dataset.id"), index=True)
    job_id: Mapped[int | None] = mapped_column(big_integer, ForeignKey("job.id"), index=True)
    external: Mapped[str | None]
    relation: Mapped[str] = mapped_column(String(32))
    weight: Mapped[float | None]
    position: Mapped[int]
    created_at: Mapped[Created]

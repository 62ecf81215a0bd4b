"""What was measured of a vector's tensors, so that nobody has to read them for a verdict."""

from sqlalchemy import CheckConstraint, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from registry.tables.columns import Base, VersionKey


class MeasureRow(Base):
    """One a version, in a table of its own: a search reads the facts, and never these.

    `content` is arithmetic's own document; `largest_norm` is of the module with the largest delta, and unknown where
    one holds NaN or infinity.
    """

    __tablename__ = "measure"
    __table_args__ = (CheckConstraint("is_finite OR largest_norm IS NULL", name="has_a_norm_where_it_is_finite"),)

    version_id: Mapped[VersionKey]
    is_finite: Mapped[bool]
    largest_norm: Mapped[float | None]
    content: Mapped[bytes] = mapped_column(LargeBinary)

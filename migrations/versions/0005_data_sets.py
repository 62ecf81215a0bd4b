"""How the pictures of a data set lie, at which commit, how many there are, and how many were left out."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NUMBERS = (("pictures", "has_pictures", "> 0"), ("left_out", "left_out_is_not_negative", ">= 0"))


def upgrade() -> None:
    for name in ("kind", "revision"):
        op.add_column("dataset", sa.Column(name, sa.String(), nullable=True))
    for name, rule, holds in NUMBERS:
        _count(name, sa.CheckConstraint(f"{name} {holds}", name=op.f(f"ck_dataset_{rule}")))


def downgrade() -> None:
    for name in ("left_out", "pictures", "revision", "kind"):
        op.execute(f"ALTER TABLE dataset DROP COLUMN {name}")


def _count(name: str, check: sa.CheckConstraint) -> None:
    """Add a column of numbers; a column's own CHECK is the only one that SQLite can add."""
    own = [check] if op.get_bind().dialect.name == "sqlite" else []
    op.add_column("dataset", sa.Column(name, big, *own, nullable=True))
    if not own:
        op.create_check_constraint(check.name, "dataset", check.sqltext)

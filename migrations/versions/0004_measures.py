"""What was measured of vectors."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHECK = "is_finite OR largest_norm IS NULL"


def upgrade() -> None:
    op.create_table(
        "measure",
        sa.Column("version_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("is_finite", sa.Boolean(), nullable=False),
        sa.Column("largest_norm", sa.Double(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(CHECK, name=op.f("ck_measure_has_a_norm_where_it_is_finite")),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_measure_version_id")),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_measure")),
    )


def downgrade() -> None:
    op.drop_table("measure")

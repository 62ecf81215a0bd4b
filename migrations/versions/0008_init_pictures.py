"""The pictures that paintings began with: needed as long as what was painted over them is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    digest = sa.String(64) if is_sqlite else sa.String(64, collation="C")
    op.create_table(
        "preview_init",
        sa.Column("preview_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("blob_sha256", digest, nullable=False),
        sa.ForeignKeyConstraint(["preview_id"], ["preview.id"], name=op.f("fk_preview_init_preview_id")),
        sa.ForeignKeyConstraint(["blob_sha256"], ["blob.sha256"], name=op.f("fk_preview_init_blob_sha256")),
        sa.PrimaryKeyConstraint("preview_id", name=op.f("pk_preview_init")),
    )
    op.create_index("ix_preview_init_blob_sha256", "preview_init", ["blob_sha256"])


def downgrade() -> None:
    op.drop_table("preview_init")

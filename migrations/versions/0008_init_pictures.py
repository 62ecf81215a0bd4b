"""The picture that a painting began with: needed as long as what was painted over it is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

PAINTED_OVER = sa.text("init_sha256 IS NOT NULL")


def upgrade() -> None:
    """Add the column with its foreign key in one statement, which is the only way that SQLite has."""
    kind = "VARCHAR(64)" if op.get_bind().dialect.name == "sqlite" else 'VARCHAR(64) COLLATE "C"'
    key = f"CONSTRAINT {op.f('fk_preview_init_sha256')} REFERENCES blob (sha256)"
    op.execute(f"ALTER TABLE preview ADD COLUMN init_sha256 {kind} {key}")
    op.create_index(
        "ix_preview_init_sha256",
        "preview",
        ["init_sha256"],
        sqlite_where=PAINTED_OVER,
        postgresql_where=PAINTED_OVER,
    )


def downgrade() -> None:
    op.drop_index("ix_preview_init_sha256", "preview")
    op.execute("ALTER TABLE preview DROP COLUMN init_sha256")

"""Pictures by what decides their pixels: a key, and an index to find them by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

HEX = "0123456789abcdef"
KEYED = sa.text("content_key IS NOT NULL")


def upgrade() -> None:
    """Add the column; a column's own CHECK is the only one that SQLite can add."""
    check = sa.CheckConstraint(
        f"length(content_key) = 64 AND ltrim(content_key, '{HEX}') = ''",
        name=op.f("ck_preview_content_key_is_digest"),
    )
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    digest = sa.String(64) if is_sqlite else sa.String(64, collation="C")
    op.add_column("preview", sa.Column("content_key", digest, *([check] if is_sqlite else []), nullable=True))
    if not is_sqlite:
        op.create_check_constraint(check.name, "preview", check.sqltext)
    op.create_index("ix_preview_content_key", "preview", ["content_key"], sqlite_where=KEYED, postgresql_where=KEYED)


def downgrade() -> None:
    op.drop_index("ix_preview_content_key", "preview")
    op.execute("ALTER TABLE preview DROP COLUMN content_key")

"""What jobs need, how other systems call them, and an index in the order in which they are claimed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NEEDS = (("needs_gpu", sa.Integer()), ("needs_memory", sa.BigInteger().with_variant(sa.Integer(), "sqlite")))
CLAIMABLE = sa.text("state IN ('queued', 'running')")
ATTACHED = sa.text("external_id IS NOT NULL")
NOW = {"sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", "postgresql": "clock_timestamp()"}
PUT_ASIDE = """
INSERT INTO job_event (job_id, at, actor, action, attempt, detail)
SELECT id, {now}, 'migration', 'paused', attempt, '{{"why": "this schema cannot say what the job needs"}}'
FROM job WHERE state = 'queued' AND (needs_gpu > 0 OR needs_memory > 0)
"""


def upgrade() -> None:
    for name, kind in NEEDS:
        _require(name, kind)
    op.add_column("job", sa.Column("external_id", sa.String(), nullable=True))
    op.create_index("ix_job_external_id", "job", ["external_id"], sqlite_where=ATTACHED, postgresql_where=ATTACHED)
    _index_claimable(sa.text("priority DESC"))


def downgrade() -> None:
    op.execute(sa.text(PUT_ASIDE.format(now=NOW[op.get_bind().dialect.name]).replace(":", "\\:")))
    op.execute("UPDATE job SET state = 'paused' WHERE state = 'queued' AND (needs_gpu > 0 OR needs_memory > 0)")
    _index_claimable("priority")
    op.drop_index("ix_job_external_id", "job")
    for name in ("external_id", *(name for name, _ in reversed(NEEDS))):
        op.execute(f"ALTER TABLE job DROP COLUMN {name}")


def _require(name: str, kind: sa.types.TypeEngine) -> None:
    """Add a column of needs; a column's own CHECK is the only one that SQLite can add."""
    check = sa.CheckConstraint(f"{name} >= 0", name=op.f(f"ck_job_{name}_is_not_negative"))
    own = [check] if op.get_bind().dialect.name == "sqlite" else []
    op.add_column("job", sa.Column(name, kind, *own, nullable=False, server_default=sa.text("0")))
    if not own:
        op.create_check_constraint(check.name, "job", check.sqltext)


def _index_claimable(priority: str | sa.TextClause) -> None:
    op.drop_index("ix_job_claimable", "job")
    columns = ["lane", priority, "run_at", "id"]
    op.create_index("ix_job_claimable", "job", columns, sqlite_where=CLAIMABLE, postgresql_where=CLAIMABLE)

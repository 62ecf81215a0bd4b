"""The catalog and the job queue: every table of the first schema, in one revision."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

HEX = "0123456789abcdef"
SLUG = "abcdefghijklmnopqrstuvwxyz0123456789._-"

# In the order of creation; the other way round every table goes before what it refers to.
TABLES = (
    *("blob", "location", "model", "recipe", "dataset", "job", "job_event", "metric"),
    *("version", "artifact", "tag", "origin", "adapter_facts", "architecture", "alias_period"),
    *("edge", "certificate", "preview", "event"),
)

APPEND_ONLY = """
CREATE TRIGGER {0}_is_never_updated BEFORE UPDATE ON {0} BEGIN SELECT RAISE(ABORT, '{0} is append-only'); END;
CREATE TRIGGER {0}_is_never_deleted BEFORE DELETE ON {0} BEGIN SELECT RAISE(ABORT, '{0} is append-only'); END;
"""

FROZEN_ARTIFACTS = """
CREATE TRIGGER artifact_is_not_added BEFORE INSERT ON artifact
WHEN (SELECT state FROM version WHERE id = NEW.version_id) <> 'draft'
BEGIN SELECT RAISE(ABORT, 'the files of a version that is no longer a draft are frozen'); END;
CREATE TRIGGER artifact_is_not_updated BEFORE UPDATE ON artifact
WHEN (SELECT state FROM version WHERE id = OLD.version_id) <> 'draft'
BEGIN SELECT RAISE(ABORT, 'the files of a version that is no longer a draft are frozen'); END;
CREATE TRIGGER artifact_is_not_deleted BEFORE DELETE ON artifact
WHEN (SELECT state FROM version WHERE id = OLD.version_id) <> 'draft'
BEGIN SELECT RAISE(ABORT, 'the files of a version that is no longer a draft are frozen'); END;
"""

FROZEN_VERSIONS = """
CREATE TRIGGER version_keeps_its_identity BEFORE UPDATE OF id, model_id, number, digest ON version
WHEN OLD.state <> 'draft'
BEGIN SELECT RAISE(ABORT, 'a version that is no longer a draft keeps its number and digest'); END;
CREATE TRIGGER version_is_never_a_draft_again BEFORE UPDATE OF state ON version
WHEN OLD.state <> 'draft' AND NEW.state = 'draft'
BEGIN SELECT RAISE(ABORT, 'a version that was published cannot become a draft'); END;
CREATE TRIGGER version_is_not_deleted BEFORE DELETE ON version
WHEN OLD.state <> 'draft'
BEGIN SELECT RAISE(ABORT, 'a version that is no longer a draft cannot be deleted'); END;
"""

JOB_STATES = """
CREATE TRIGGER job_state_follows_its_table BEFORE UPDATE OF state ON job
WHEN OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES
('queued', 'cancelled'), ('queued', 'paused'), ('queued', 'running'),
('running', 'cancelled'), ('running', 'dead'), ('running', 'failed'), ('running', 'paused'), ('running', 'queued'),
('running', 'succeeded'), ('paused', 'cancelled'), ('paused', 'queued'),
('failed', 'queued'), ('cancelled', 'queued'), ('dead', 'queued'))
BEGIN SELECT RAISE(ABORT, 'this job state cannot follow the present one'); END;
"""

text = sa.String()
big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
digest = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
json = sa.JSON().with_variant(JSONB(), "postgresql")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    _create_blobs()
    _create_models()
    _create_jobs()
    _create_versions()
    _create_facts()
    _create_aliases()
    _create_edges()
    _create_proofs()
    _create_events()
    if op.get_bind().dialect.name == "sqlite":
        _create_triggers_on_sqlite()


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_blobs() -> None:
    op.create_table(
        "blob",
        *_required(digest, "sha256", "blake3"),
        *_required(big, "size"),
        *_optional(digest, "data_sha256", "tensor_hash"),
        *_required(moment, "created_at"),
        *(_is_digest("blob", column) for column in ("sha256", "blake3", "data_sha256", "tensor_hash")),
        _check("blob", "size_is_not_negative", "size >= 0"),
        _key("blob", "sha256"),
    )
    for column in ("blake3", "data_sha256", "tensor_hash"):
        _index("blob", column)
    op.create_table(
        "location",
        *_required(big, "id", "size", "mtime_ns", "inode"),
        *_required(digest, "blob_sha256"),
        *_required(text, "uri"),
        *_required(sa.String(16), "mode"),
        _is_one_of("location", "mode", "stored", "in-place"),
        _refers("location", "blob_sha256", "blob.sha256"),
        _unique("location", "uri"),
        _key("location", "id"),
    )
    _index("location", "blob_sha256")


def _create_models() -> None:
    op.create_table(
        "model",
        *_required(big, "id", "next_number"),
        *_required(sa.String(128), "slug"),
        *_required(text, "title", "description", "owner"),
        *_required(sa.String(16), "kind"),
        *_optional(text, "license"),
        *_required(moment, "created_at"),
        _is_slug("model", "slug"),
        _is_one_of("model", "kind", "base", "acceleration", "style", "composition", "other"),
        _check("model", "next_number_is_positive", "next_number >= 1"),
        _unique("model", "slug"),
        _key("model", "id"),
    )
    _index("model", "kind")
    op.create_table(
        "recipe",
        *_required(big, "id"),
        *_required(digest, "sha256"),
        *_required(text, "typed", "locked"),
        *_required(moment, "created_at"),
        _is_digest("recipe", "sha256"),
        _unique("recipe", "sha256"),
        _key("recipe", "id"),
    )
    op.create_table(
        "dataset",
        *_required(big, "id"),
        *_required(sa.String(128), "name"),
        *_required(digest, "fingerprint"),
        *_required(text, "uri"),
        *_optional(text, "license"),
        *_required(moment, "created_at"),
        _is_slug("dataset", "name"),
        _is_digest("dataset", "fingerprint"),
        _unique("dataset", "name", "fingerprint"),
        _key("dataset", "id"),
    )


def _create_jobs() -> None:
    op.create_table(
        "job",
        *_required(big, "id", "lease_token"),
        *_required(sa.String(64), "kind"),
        *_required(sa.String(16), "lane", "state", "wanted"),
        *_required(json, "spec", "progress"),
        *_required(digest, "spec_sha256"),
        *_optional(text, "idempotency_key", "lease_owner", "last_error", "log_path"),
        *_required(sa.Integer(), "priority", "attempt", "max_attempts"),
        *_required(moment, "run_at", "created_at"),
        *_optional(moment, "lease_until", "started_at", "finished_at"),
        *_optional(json, "result"),
        *_required(text, "submitted_by"),
        _is_one_of("job", "state", "queued", "running", "paused", "succeeded", "failed", "cancelled", "dead"),
        _is_one_of("job", "wanted", "run", "pause", "cancel"),
        _is_one_of("job", "lane", "batch", "interactive"),
        _is_digest("job", "spec_sha256"),
        _check("job", "attempts_are_bounded", "attempt BETWEEN 0 AND max_attempts"),
        _check("job", "runs_under_a_lease", "(state = 'running') = (lease_until IS NOT NULL)"),
        _key("job", "id"),
    )
    _index("job", "kind")
    _index("job", "state")
    claimable = ("lane", "priority", "run_at", "id")
    _partial_index("ix_job_claimable", "job", claimable, "state IN ('queued', 'running')", unique=False)
    _partial_index("uq_job_idempotency_key", "job", ("idempotency_key",), "state IN ('queued', 'running', 'paused')")
    _create_job_records()


def _create_job_records() -> None:
    op.create_table(
        "job_event",
        *_required(big, "id", "job_id"),
        *_required(moment, "at"),
        *_required(text, "actor"),
        *_required(sa.String(32), "action"),
        *_required(sa.Integer(), "attempt"),
        *_required(json, "detail"),
        _refers("job_event", "job_id", "job.id"),
        _key("job_event", "id"),
    )
    _index("job_event", "job_id", "id")
    op.create_table(
        "metric",
        *_required(big, "job_id", "step"),
        *_required(sa.String(128), "name"),
        *_required(sa.Double(), "value"),
        *_required(moment, "at"),
        _refers("metric", "job_id", "job.id"),
        _key("metric", "job_id", "name", "step"),
    )


def _create_versions() -> None:
    op.create_table(
        "version",
        *_required(big, "id", "model_id", "number"),
        *_required(digest, "digest"),
        *_required(sa.String(16), "state"),
        *_optional(text, "author", "note"),
        *_optional(sa.Double(), "recommended_strength"),
        *_required(json, "trigger_words", "sampling"),
        *_optional(big, "recipe_id"),
        *_required(moment, "created_at"),
        _is_digest("version", "digest"),
        _is_one_of("version", "state", "draft", "published", "deprecated", "archived"),
        _check("version", "number_is_positive", "number >= 1"),
        _refers("version", "model_id", "model.id"),
        _refers("version", "recipe_id", "recipe.id"),
        *(_unique("version", "model_id", column) for column in ("number", "digest", "id")),
        _key("version", "id"),
    )
    for columns in (("digest",), ("recipe_id",), ("state",), ("model_id", "state", "number")):
        _index("version", *columns)
    op.create_table(
        "artifact",
        *_required(big, "version_id"),
        *_required(text, "path", "media_type"),
        *_required(sa.String(64), "role"),
        *_required(digest, "blob_sha256"),
        _check("artifact", "path_is_not_empty", "path <> ''"),
        _refers("artifact", "version_id", "version.id"),
        _refers("artifact", "blob_sha256", "blob.sha256"),
        _key("artifact", "version_id", "path"),
    )
    _index("artifact", "blob_sha256")
    op.create_table(
        "tag",
        *_required(big, "version_id"),
        *_required(sa.String(128), "key"),
        *_required(text, "value"),
        _check("tag", "key_is_not_empty", "key <> ''"),
        _refers("tag", "version_id", "version.id"),
        _key("tag", "version_id", "key"),
    )
    _index("tag", "key", "value")


def _create_facts() -> None:
    op.create_table(
        "origin",
        *_required(big, "version_id"),
        *_required(sa.String(16), "kind"),
        *_required(text, "uri"),
        *_optional(text, "revision"),
        *_required(json, "embedded"),
        _is_one_of("origin", "kind", "file", "hub", "url", "civitai", "job", "recipe", "upload"),
        _refers("origin", "version_id", "version.id"),
        _key("origin", "version_id"),
    )
    _index("origin", "uri")
    op.create_table(
        "adapter_facts",
        *_required(big, "version_id", "parameters"),
        *_required(sa.String(32), "identifier"),
        *_required(sa.String(16), "kind"),
        *_required(sa.String(128), "family"),
        *_required(sa.String(64), "adapter", "layout"),
        *_optional(sa.Integer(), "rank"),
        *_optional(sa.Double(), "alpha"),
        *_optional(sa.String(16), "dtype"),
        *_required(sa.Integer(), "modules"),
        *_optional(sa.String(128), "architecture"),
        *_required(json, "identification"),
        _refers("adapter_facts", "version_id", "version.id"),
        _key("adapter_facts", "version_id"),
    )
    _index("adapter_facts", "adapter")
    _index("adapter_facts", "family")
    op.create_table(
        "architecture",
        *_required(big, "id", "version_id"),
        *_required(sa.String(128), "name"),
        *_required(json, "modules"),
        _is_slug("architecture", "name"),
        _refers("architecture", "version_id", "version.id"),
        _unique("architecture", "name"),
        _key("architecture", "id"),
    )
    _index("architecture", "version_id")


def _create_aliases() -> None:
    own_version = ["version.model_id", "version.id"]
    op.create_table(
        "alias_period",
        *_required(big, "id", "model_id", "version_id"),
        *_required(sa.String(128), "name"),
        *_required(moment, "since"),
        *_optional(moment, "until"),
        _is_slug("alias_period", "name"),
        _check("alias_period", "ends_after_it_begins", "until IS NULL OR until >= since"),
        sa.ForeignKeyConstraint(
            ["model_id", "version_id"], own_version, name=op.f("fk_alias_period_model_id_version_id")
        ),
        _key("alias_period", "id"),
    )
    _index("alias_period", "model_id", "name", "since")
    _index("alias_period", "version_id")
    _partial_index("uq_alias_period_open", "alias_period", ("model_id", "name"), "until IS NULL")


def _create_edges() -> None:
    parents = ("parent_id", "dataset_id", "job_id", "external")
    there = " + ".join(f"CASE WHEN {parent} IS NULL THEN 0 ELSE 1 END" for parent in parents)
    relations = ("adapter_of", "distilled_from", "teacher", "trained_on", "composed_from", "baked_into")
    more = ("extracted_from", "resized_from", "converted_from", "supersedes", "produced_by")
    op.create_table(
        "edge",
        *_required(big, "id", "child_id"),
        *_optional(big, "parent_id", "dataset_id", "job_id"),
        *_optional(text, "external"),
        *_required(sa.String(32), "relation"),
        *_optional(sa.Double(), "weight"),
        *_required(sa.Integer(), "position"),
        *_required(moment, "created_at"),
        _is_one_of("edge", "relation", *relations, *more),
        _check("edge", "has_one_parent", f"{there} = 1"),
        _check("edge", "is_no_loop", "parent_id IS NULL OR parent_id <> child_id"),
        _refers("edge", "child_id", "version.id"),
        _refers("edge", "parent_id", "version.id"),
        _refers("edge", "dataset_id", "dataset.id"),
        _refers("edge", "job_id", "job.id"),
        _key("edge", "id"),
    )
    for column in ("child_id", "parent_id", "dataset_id", "job_id"):
        _index("edge", column)
    for parent in parents:
        once = ("child_id", "relation", "position", parent)
        _partial_index(f"uq_edge_{parent}", "edge", once, f"{parent} IS NOT NULL")


def _create_proofs() -> None:
    op.create_table(
        "certificate",
        *_required(big, "id", "version_id"),
        *_required(digest, "file_sha256"),
        *_required(text, "method", "engine_version"),
        *_required(sa.Double(), "worst_relative_error"),
        *_required(json, "certificate"),
        *_required(moment, "created_at"),
        _is_digest("certificate", "file_sha256"),
        _refers("certificate", "version_id", "version.id"),
        _key("certificate", "id"),
    )
    _index("certificate", "version_id")
    _index("certificate", "file_sha256")
    op.create_table(
        "preview",
        *_required(big, "id"),
        *_optional(big, "version_id", "recipe_id"),
        *_required(digest, "picture_sha256"),
        *_required(json, "settings", "metrics"),
        *_required(moment, "created_at"),
        _check("preview", "has_one_subject", "(version_id IS NULL) <> (recipe_id IS NULL)"),
        _refers("preview", "version_id", "version.id"),
        _refers("preview", "recipe_id", "recipe.id"),
        _refers("preview", "picture_sha256", "blob.sha256"),
        _key("preview", "id"),
    )
    for column in ("version_id", "recipe_id", "picture_sha256"):
        _index("preview", column)


def _create_events() -> None:
    op.create_table(
        "event",
        *_required(big, "id"),
        *_required(moment, "at"),
        *_required(text, "actor", "subject"),
        *_optional(big, "model_id", "version_id"),
        *_required(sa.String(32), "action"),
        *_optional(json, "before", "after"),
        _refers("event", "model_id", "model.id"),
        _refers("event", "version_id", "version.id"),
        _key("event", "id"),
    )
    _index("event", "model_id", "id")
    _index("event", "version_id")


def _create_triggers_on_sqlite() -> None:
    scripts = (APPEND_ONLY.format("event"), APPEND_ONLY.format("job_event"))
    for script in (*scripts, FROZEN_ARTIFACTS, FROZEN_VERSIONS, JOB_STATES):
        for statement in script.split("END;"):
            if statement.strip():
                op.execute(f"{statement.strip()} END")


def _required(kind: sa.types.TypeEngine, *names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _optional(kind: sa.types.TypeEngine, *names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _is_digest(table: str, column: str) -> sa.CheckConstraint:
    return _check(table, f"{column}_is_digest", f"length({column}) = 64 AND ltrim({column}, '{HEX}') = ''")


def _is_slug(table: str, column: str) -> sa.CheckConstraint:
    first = f"substr({column}, 1, 1) NOT IN ('.', '_', '-')"
    condition = f"length({column}) BETWEEN 1 AND 128 AND ltrim({column}, '{SLUG}') = '' AND {first}"
    return _check(table, f"{column}_is_slug", condition)


def _is_one_of(table: str, column: str, *values: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return _check(table, f"{column}_is_known", f"{column} IN ({listed})")


def _refers(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=op.f(f"fk_{table}_{column}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns))


def _partial_index(name: str, table: str, columns: tuple[str, ...], where: str, *, unique: bool = True) -> None:
    condition = sa.text(where)
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=condition, postgresql_where=condition)

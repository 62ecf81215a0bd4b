"""Keeping and access: tombstones, the field's short hashes, look-ups, principals; the rules on PostgreSQL too."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

HEX = "0123456789abcdef"
MODES = ("stored", "in-place")
ORIGINS = ("file", "hub", "url", "civitai", "job", "recipe", "upload")
WIDER_ORIGINS = ("file", "hub", "url", "civitai", "invokeai", "job", "recipe", "upload")
TABLES = ("blob_hash", "principal", "token", "upload", "favourite", "lookup")

# Kept as they were said: JSONB sorts the keys, and refuses texts that a file's metadata may hold.
DOCUMENTS = (
    *(("job", column) for column in ("spec", "progress", "result")),
    *(("event", column) for column in ("before", "after")),
    *(("preview", column) for column in ("settings", "metrics")),
    *(("job_event", "detail"), ("version", "sampling"), ("origin", "embedded")),
    *(("adapter_facts", "identification"), ("architecture", "modules"), ("certificate", "certificate")),
)

# Sorted and searched by their beginning: one order, whatever the database's language is.
SLUGS = (("model", "slug"), ("alias_period", "name"), ("dataset", "name"), ("architecture", "name"))
SLUG = "abcdefghijklmnopqrstuvwxyz0123456789._-"

# name, moment, condition, message: the rules that 0001 made on SQLite alone.
FROZEN = "the files of a version that is no longer a draft are frozen"
FIRST_RULES = (
    ("event_is_never_updated", "UPDATE ON event", "", "event is append-only"),
    ("event_is_never_deleted", "DELETE ON event", "", "event is append-only"),
    ("job_event_is_never_updated", "UPDATE ON job_event", "", "job_event is append-only"),
    ("job_event_is_never_deleted", "DELETE ON job_event", "", "job_event is append-only"),
    (
        "artifact_is_not_added",
        "INSERT ON artifact",
        "(SELECT state FROM version WHERE id = NEW.version_id) <> 'draft'",
        FROZEN,
    ),
    (
        "artifact_is_not_updated",
        "UPDATE ON artifact",
        "(SELECT state FROM version WHERE id = OLD.version_id) <> 'draft'",
        FROZEN,
    ),
    (
        "artifact_is_not_deleted",
        "DELETE ON artifact",
        "(SELECT state FROM version WHERE id = OLD.version_id) <> 'draft'",
        FROZEN,
    ),
    (
        "version_keeps_its_identity",
        "UPDATE OF id, model_id, number, digest ON version",
        "OLD.state <> 'draft'",
        "a version that is no longer a draft keeps its number and digest",
    ),
    (
        "version_is_never_a_draft_again",
        "UPDATE OF state ON version",
        "OLD.state <> 'draft' AND NEW.state = 'draft'",
        "a version that was published cannot become a draft",
    ),
    (
        "version_is_not_deleted",
        "DELETE ON version",
        "OLD.state <> 'draft'",
        "a version that is no longer a draft cannot be deleted",
    ),
    (
        "job_state_follows_its_table",
        "UPDATE OF state ON job",
        "OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (VALUES "
        "('queued', 'cancelled'), ('queued', 'paused'), ('queued', 'running'), "
        "('running', 'cancelled'), ('running', 'dead'), ('running', 'failed'), ('running', 'paused'), "
        "('running', 'queued'), ('running', 'succeeded'), ('paused', 'cancelled'), ('paused', 'queued'), "
        "('failed', 'queued'), ('cancelled', 'queued'), ('dead', 'queued'))",
        "this job state cannot follow the present one",
    ),
)

PAST = "what an alias meant in the past cannot be changed"
NEW_RULES = (
    (
        "version_is_not_removed_while_used",
        "UPDATE OF removed_at ON version",
        "NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL AND EXISTS ("
        "SELECT 1 FROM edge JOIN version AS child ON child.id = edge.child_id "
        "WHERE edge.parent_id = NEW.id AND edge.relation <> 'supersedes' AND child.removed_at IS NULL)",
        "a version that others were made from cannot be removed",
    ),
    (
        "edge_names_no_removed_version",
        "INSERT ON edge",
        "NEW.relation <> 'supersedes' AND "
        "EXISTS (SELECT 1 FROM version WHERE id = NEW.parent_id AND removed_at IS NOT NULL)",
        "a version that was removed cannot become a parent",
    ),
    (
        "alias_period_keeps_its_past",
        "UPDATE ON alias_period",
        "OLD.until IS NOT NULL OR (NEW.model_id, NEW.version_id, NEW.name, NEW.since) "
        "<> (OLD.model_id, OLD.version_id, OLD.name, OLD.since)",
        PAST,
    ),
    ("alias_period_is_never_deleted", "DELETE ON alias_period", "", PAST),
    (
        "model_numbers_never_fall",
        "UPDATE OF next_number ON model",
        "NEW.next_number < OLD.next_number",
        "a version number is never given twice",
    ),
    (
        "blob_keeps_its_content",
        "UPDATE OF sha256, size, blake3 ON blob",
        "(NEW.sha256, NEW.size, NEW.blake3) <> (OLD.sha256, OLD.size, OLD.blake3)",
        "the digests of a blob never change",
    ),
)
ERASED = ("event", "job_event")  # PostgreSQL alone can empty a table without deleting a row

text = sa.String()
big = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
digest = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
json = sa.JSON().with_variant(JSONB(), "postgresql")
moment = sa.Text().with_variant(sa.TIMESTAMP(timezone=True), "postgresql")


def upgrade() -> None:
    _widen_blobs()
    _widen_versions()
    _widen_facts()
    _create_hashes()
    _create_access()
    _create_lookups()
    if _on_sqlite():
        _rebuild_location((*MODES, "source"), sa.Column("checked_at", moment, nullable=True))
        _rebuild_origin(WIDER_ORIGINS)
    else:
        _widen_words_on_postgresql()
    _create_rules()


def downgrade() -> None:
    _drop_rules()
    op.execute("DELETE FROM location WHERE mode = 'source'")
    op.execute("UPDATE origin SET kind = 'file' WHERE kind = 'invokeai'")
    op.execute("UPDATE version SET state = 'archived' WHERE removed_at IS NOT NULL")
    if _on_sqlite():
        _rebuild_location(MODES, None)
        _rebuild_origin(ORIGINS)
    else:
        _narrow_words_on_postgresql()
    for table in reversed(TABLES):
        op.drop_table(table)
    op.drop_index("ix_blob_deleting", "blob")
    op.drop_index("ix_adapter_facts_layout_hash", "adapter_facts")
    for table, columns in (
        ("adapter_facts", ("dora", "confidence", "prediction_type", "layout_hash")),
        ("version", ("recommended_high", "recommended_low", "removed_by", "removed_at")),
        ("model", ("nsfw", "archived_at", "license_flags")),
        ("blob", ("used_at", "state")),
    ):
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")


def _widen_blobs() -> None:
    _add("blob", "state", sa.String(16), "'present'", _is_one_of("blob", "state", "present", "deleting"))
    _add("blob", "used_at", moment)
    deleting = sa.text("state = 'deleting'")
    op.create_index("ix_blob_deleting", "blob", ["sha256"], sqlite_where=deleting, postgresql_where=deleting)


def _widen_versions() -> None:
    together = "(removed_at IS NULL) = (removed_by IS NULL)"
    _add("model", "license_flags", json, "'{}'")
    _add("model", "archived_at", moment)
    _add("model", "nsfw", sa.Boolean(), sa.false())
    _add("version", "removed_at", moment)
    _add("version", "removed_by", text, None, _check("version", "is_removed_by_somebody", together))
    _add("version", "recommended_low", sa.Double())
    ordered = _check("version", "recommends_a_range", "recommended_low <= recommended_high")
    _add("version", "recommended_high", sa.Double(), None, ordered)


def _widen_facts() -> None:
    share = _check("adapter_facts", "confidence_is_a_share", "confidence BETWEEN 0 AND 1")
    _add("adapter_facts", "layout_hash", digest, None, _is_digest("adapter_facts", "layout_hash"))
    _add("adapter_facts", "prediction_type", sa.String(32))
    _add("adapter_facts", "confidence", sa.Double(), "0", share)
    _add("adapter_facts", "dora", sa.Boolean(), sa.false())
    _index("adapter_facts", "layout_hash")
    said = "json_extract(identification, '$.family.confidence')"
    if not _on_sqlite():
        said = "(identification #>> '{family,confidence}')::double precision"
    op.execute(f"UPDATE adapter_facts SET confidence = coalesce({said}, 0), dora = adapter LIKE '%+dora'")


def _create_hashes() -> None:
    op.create_table(
        "blob_hash",
        *_required(digest, "blob_sha256", "value"),
        *_required(sa.String(16), "kind"),
        _is_one_of("blob_hash", "kind", "autov1", "autov3", "crc32", "modelspec", "sshs_model", "sshs_legacy"),
        _check("blob_hash", "value_is_hash", f"length(value) BETWEEN 8 AND 64 AND ltrim(value, '{HEX}') = ''"),
        _refers("blob_hash", "blob_sha256", "blob.sha256"),
        _key("blob_hash", "blob_sha256", "kind"),
    )
    _index("blob_hash", "value")


def _create_access() -> None:
    op.create_table(
        "principal",
        *_required(big, "id"),
        *_required(sa.String(128), "name"),
        *_required(sa.String(16), "role"),
        *_required(moment, "created_at"),
        _is_one_of("principal", "role", "viewer", "editor", "admin"),
        _check("principal", "name_is_not_empty", "name <> ''"),
        _unique("principal", "name"),
        _key("principal", "id"),
    )
    op.create_table(
        "token",
        *_required(big, "id", "principal_id"),
        *_required(digest, "hash"),
        *_required(json, "scopes"),
        *_required(moment, "created_at"),
        *_optional(moment, "expires_at", "revoked_at"),
        _is_digest("token", "hash"),
        _refers("token", "principal_id", "principal.id"),
        _unique("token", "hash"),
        _key("token", "id"),
    )
    _index("token", "principal_id")
    op.create_table(
        "upload",
        *_required(sa.String(64), "id"),
        *_required(digest, "sha256"),
        *_required(big, "size", "received"),
        *_required(text, "principal"),
        *_required(moment, "created_at", "expires_at"),
        _is_digest("upload", "sha256"),
        _check("upload", "fits_its_size", "received BETWEEN 0 AND size"),
        _key("upload", "id"),
    )
    _index("upload", "sha256")
    _index("upload", "expires_at")
    op.create_table(
        "favourite",
        *_required(text, "principal"),
        *_required(big, "model_id"),
        _refers("favourite", "model_id", "model.id"),
        _key("favourite", "principal", "model_id"),
    )
    _index("favourite", "model_id")


def _create_lookups() -> None:
    op.create_table(
        "lookup",
        *_required(big, "id", "version_id"),
        *_required(sa.String(32), "service"),
        *_required(moment, "asked_at"),
        *_required(sa.String(16), "status"),
        *_optional(text, "uri"),
        *_optional(sa.JSON(), "found"),
        *_optional(moment, "unlinked_at"),
        _is_one_of("lookup", "status", "found", "missing", "failed"),
        _check("lookup", "says_what_it_found", "(status = 'found') = (found IS NOT NULL)"),
        _refers("lookup", "version_id", "version.id"),
        _key("lookup", "id"),
    )
    _index("lookup", "version_id", "service", "id")


def _rebuild_location(modes: tuple[str, ...], added: sa.Column | None) -> None:
    """SQLite cannot change a CHECK: copy the table, to which nothing refers."""
    op.create_table(
        "location_rebuilt",
        *_required(big, "id", "size", "mtime_ns", "inode"),
        *_required(digest, "blob_sha256"),
        *_required(text, "uri"),
        *_required(sa.String(16), "mode"),
        *([] if added is None else [added]),
        _is_one_of("location", "mode", *modes),
        _refers("location", "blob_sha256", "blob.sha256"),
        _unique("location", "uri"),
        _key("location", "id"),
    )
    _take_the_place("location", "id, blob_sha256, uri, size, mtime_ns, inode, mode")
    _index("location", "blob_sha256")


def _rebuild_origin(kinds: tuple[str, ...]) -> None:
    op.create_table(
        "origin_rebuilt",
        *_required(big, "version_id"),
        *_required(sa.String(16), "kind"),
        *_required(text, "uri"),
        *_optional(text, "revision"),
        *_required(json, "embedded"),
        _is_one_of("origin", "kind", *kinds),
        _refers("origin", "version_id", "version.id"),
        _key("origin", "version_id"),
    )
    _take_the_place("origin", "version_id, kind, uri, revision, embedded")
    _index("origin", "uri")


def _take_the_place(table: str, columns: str) -> None:
    op.execute(f"INSERT INTO {table}_rebuilt ({columns}) SELECT {columns} FROM {table}")
    op.drop_table(table)
    op.rename_table(f"{table}_rebuilt", table)


def _widen_words_on_postgresql() -> None:
    _replace_words("location", "mode", (*MODES, "source"))
    _replace_words("origin", "kind", WIDER_ORIGINS)
    _add("location", "checked_at", moment)
    for table, column in DOCUMENTS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE json USING {column}::json")
    _sort_on_postgresql('COLLATE "C"')


def _narrow_words_on_postgresql() -> None:
    _replace_words("location", "mode", MODES)
    _replace_words("origin", "kind", ORIGINS)
    op.drop_column("location", "checked_at")
    for table, column in DOCUMENTS:
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE jsonb USING {column}::jsonb")
    _sort_on_postgresql("")


def _sort_on_postgresql(order: str) -> None:
    """Give names and paths this order; a CHECK is made anew, or PostgreSQL would keep it in other words."""
    for table, column in SLUGS:
        name = op.f(f"ck_{table}_{column}_is_slug")
        op.drop_constraint(name, table, type_="check")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE varchar(128) {order}")
        first = f"substr({column}, 1, 1) NOT IN ('.', '_', '-')"
        known = f"length({column}) BETWEEN 1 AND 128 AND ltrim({column}, '{SLUG}') = '' AND {first}"
        op.create_check_constraint(name, table, known)
    op.execute(f"ALTER TABLE tag ALTER COLUMN key TYPE varchar(128) {order}")
    op.execute(f"ALTER TABLE artifact ALTER COLUMN path TYPE varchar {order}")


def _replace_words(table: str, column: str, words: tuple[str, ...]) -> None:
    name = op.f(f"ck_{table}_{column}_is_known")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({', '.join(repr(word) for word in words)})")


def _create_rules() -> None:
    if _on_sqlite():
        for name, when, condition, message in NEW_RULES:
            head = f" WHEN {condition}" if condition else ""
            op.execute(f"CREATE TRIGGER {name} BEFORE {when}{head} BEGIN SELECT RAISE(ABORT, '{message}'); END")
        return
    for name, when, condition, message in (*FIRST_RULES, *NEW_RULES):
        refuse = f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation';"
        body = f"IF {condition} THEN {refuse} END IF; RETURN COALESCE(NEW, OLD);" if condition else refuse
        op.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
        op.execute(f"CREATE TRIGGER {name} BEFORE {when} FOR EACH ROW EXECUTE FUNCTION {name}()")
    for table in ERASED:
        head = f"CREATE TRIGGER {table}_is_never_truncated BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
        op.execute(f"{head} EXECUTE FUNCTION {table}_is_never_deleted()")


def _drop_rules() -> None:
    if _on_sqlite():
        for name, *_ in NEW_RULES:
            op.execute(f"DROP TRIGGER {name}")
        return
    for name, *_ in (*FIRST_RULES, *NEW_RULES):
        op.execute(f"DROP FUNCTION {name}() CASCADE")  # and the triggers that call it


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _add(
    table: str,
    name: str,
    kind: sa.types.TypeEngine,
    default: object = None,
    check: sa.CheckConstraint | None = None,
) -> None:
    """Add a column; one with a default is required. A column's own CHECK is the only one that SQLite can add."""
    own = [] if check is None or not _on_sqlite() else [check]
    given = sa.text(default) if isinstance(default, str) else default
    column = sa.Column(name, kind, *own, nullable=default is None, server_default=given)
    op.add_column(table, column)
    if check is not None and not own:
        op.create_check_constraint(check.name, table, check.sqltext)


def _required(kind: sa.types.TypeEngine, *names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _optional(kind: sa.types.TypeEngine, *names: str) -> list[sa.Column]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _is_digest(table: str, column: str) -> sa.CheckConstraint:
    return _check(table, f"{column}_is_digest", f"length({column}) = 64 AND ltrim({column}, '{HEX}') = ''")


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

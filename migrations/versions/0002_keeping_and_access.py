"""Keeping and access: tombstones, the field's short hashes, look-ups, principals; more rules, and on PostgreSQL all.

The rules lie beside this file, one statement a line for each database, as they were when this revision was made.
"""

import re
from pathlib import Path

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
    for statement in _rules():
        op.get_bind().exec_driver_sql(statement)


def _drop_rules() -> None:
    """On PostgreSQL a trigger goes with the function that it calls."""
    kind, cascade = ("TRIGGER", "") if _on_sqlite() else ("FUNCTION", " CASCADE")
    for found in map(re.compile(rf"CREATE {kind} (\w+)").match, _rules()):
        if found:
            op.execute(f"DROP {kind} {found[1]}{cascade}")


def _rules() -> list[str]:
    path = Path(__file__).with_name(f"0002_{op.get_bind().dialect.name}.sql")
    return [line.removesuffix(";") for line in path.read_text(encoding="utf-8").splitlines()]


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

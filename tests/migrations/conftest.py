"""An empty database of each kind, what its schema is, and a registry with a row in every table."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from registry import Parent, Registry, dialect
from registry.jobs import Queue
from registry.tables import (
    BlobHashRow,
    FavouriteRow,
    LocationRow,
    LookupRow,
    MeasureRow,
    PrincipalRow,
    TokenRow,
    UploadRow,
)

Dump = Mapping[tuple[str, str], object]

ON_SQLITE = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"

OURS = "n.nspname = 'public' AND c.relname NOT LIKE 'alembic_version%'"
BUILT_IN = "EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')"
ON_POSTGRESQL = {
    "column": f"""
        SELECT c.relname || '.' || a.attname, ARRAY[format_type(a.atttypid, a.atttypmod), a.attnotnull::text,
            pg_get_expr(d.adbin, d.adrelid), (SELECT collname FROM pg_collation WHERE oid = a.attcollation)]
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE {OURS} AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraint": f"""
        SELECT c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS}""",
    "index": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'""",
    "trigger": f"""
        SELECT c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND NOT t.tgisinternal""",
    "function": f"""
        SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid)
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = 'public' AND p.prokind = 'f' AND NOT {BUILT_IN}""",
    "view": f"""
        SELECT c.relname, pg_get_viewdef(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {OURS} AND c.relkind IN ('v', 'm')""",
    "extension": "SELECT extname, extversion FROM pg_extension",
}


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting of whoever runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "DATABASE_URL", "BLOB_URL", "USER"):
            patch.delenv(f"TAU_{name}", raising=False)
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An empty database, set up as the registry sets one up; the test runs once on each kind."""
    made = dialect.open_engine(make_url(database_url))
    yield made
    made.dispose()


@pytest.fixture
def another_engine(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A second empty database of the same kind."""
    new: Callable[[str], str] | None = request.getfixturevalue("new_database") if backend == "postgresql" else None
    made = dialect.open_engine(make_url(new("template0") if new else f"sqlite:///{tmp_path / 'another.db'}"))
    yield made
    made.dispose()


@pytest.fixture
def dump() -> Callable[[Engine], Dump]:
    """dump(engine) -> (kind, name) -> definition, of everything in the database but Alembic's own table."""

    def read(engine: Engine) -> Dump:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                rows = connection.execute(text(ON_SQLITE)).all()
                return {(kind, name): _words(sql) if kind == "trigger" else _clauses(sql) for kind, name, sql in rows}
            found = {kind: connection.execute(text(query)).all() for kind, query in ON_POSTGRESQL.items()}
        return {(kind, name): definition for kind, rows in found.items() for name, definition in rows}

    return read


def _words(sql: str) -> str:
    return re.sub(r"[\s\"]+", "", sql)


def _clauses(sql: str) -> list[str]:
    """A table's columns and constraints in no order, wherever they stand: an added column carries its own CHECK."""
    head, body = re.sub(r"[\s\"]+", " ", sql).split("(", 1)
    end = body.rindex(")")
    clauses, depth = [""], 0
    for letter in body[:end]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            clauses.append("")
        else:
            clauses[-1] += letter
    parts = (part for clause in clauses for part in re.sub("(.) (CONSTRAINT )", "\\1\n\\2", clause).split("\n"))
    return [_words(head + body[end:]), *sorted(map(_words, parts))]


@pytest.fixture
def fill(tmp_path: Path) -> Callable[[str], None]:
    """fill(url) -> opens a registry there and puts at least one row into every table."""

    def write(url: str) -> None:
        with Registry.open(tmp_path / "home", url, actor="ann") as registry:
            _fill_catalog(registry, tmp_path)
            _fill_the_rest(registry)

    return write


def _fill_catalog(registry: Registry, folder: Path) -> None:
    queue = Queue(registry)
    queue.submit("x", {})
    lease = queue.claim("worker")
    assert lease is not None
    queue.metric(lease, 1, "loss", 0.5)
    recipe = registry.add_recipe("a", "b", "ab" * 32).sha256
    parents = [Parent(registry.add_dataset("shapes", "cd" * 32, "file:///x").ref, "trained_on")]
    (folder / "note.txt").write_text("x")
    version = registry.add(
        folder / "note.txt", kind="other", recipe=recipe, edges=parents, tags={"a": "b"}, lease=lease
    )
    registry.alias(version.ref, "production")
    registry.add_preview(version, {"init": registry.put_blob(b"sketch")}, b"png", {}, key="ab" * 32)
    proof = {"method": "m", "engine_version": "1", "worst_relative_error": 0.0}
    registry.add_certificate(version, {"file_sha256": version.artifacts[0].sha256, **proof})


def _fill_the_rest(registry: Registry) -> None:
    """Rows of the tables that no use case of this fixture writes."""
    version = registry.get("note:1")
    sha256 = version.artifacts[0].sha256
    stat = {"size": 1, "mtime_ns": 1, "inode": 1}
    with registry.database.writing() as uow:
        uow.session.add_all(
            [
                BlobHashRow(blob_sha256=sha256, kind="sshs_model", value="0123abcd"),
                LocationRow(blob_sha256=sha256, uri="file:///elsewhere/note.txt", mode="source", **stat),
                FavouriteRow(principal="ann", model_id=1),
                LookupRow(version_id=version.id, service="civitai", status="found", found={"id": 1}),
                MeasureRow(version_id=version.id, is_finite=True, largest_norm=0.5, content=b"measured"),
                PrincipalRow(id=1, name="ann", role="admin"),
                UploadRow(id="u", sha256=sha256, size=1, received=0, principal="ann", expires_at=version.created_at),
            ]
        )
        uow.session.flush()
        uow.session.add(TokenRow(principal_id=1, hash="ef" * 32, scopes=["read"]))
        uow.commit()

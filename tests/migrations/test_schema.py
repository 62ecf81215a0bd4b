"""The migrations build the schema that the tables declare, and go up and down with data in it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text

from registry import Parent, Registry, dialect, schema
from registry.jobs import Queue
from registry.tables import metadata


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An empty SQLite database, set up as the registry sets one up."""
    made = dialect.prepare(create_engine(f"sqlite:///{tmp_path / 'schema.db'}"))
    yield made
    made.dispose()


def _clauses(sql: str) -> list[str]:
    """A statement's clauses without their order and spacing: SQLAlchemy writes one on a line."""
    lines = (re.sub(r"\s+", " ", line).strip(" ,") for line in sql.replace("\nWHEN", " WHEN").splitlines())
    return sorted(line for line in lines if line not in ("", "(", ")"))


def _trigger(sql: str) -> list[str]:
    return [re.sub(r"\s+", " ", sql).replace("( ", "(").strip()]


def _schema(engine: Engine) -> dict[tuple[str, str], list[str]]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"
    with engine.connect() as connection:
        rows = connection.execute(text(query)).all()
    return {(kind, name): _trigger(sql) if kind == "trigger" else _clauses(sql) for kind, name, sql in rows}


def _declared(tmp_path: Path) -> dict[tuple[str, str], list[str]]:
    made = create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(made)
    found = _schema(made)
    made.dispose()
    return found


def _rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return sum(
            connection.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one() for table in metadata.tables
        )


def _fill(home: Path, url: str) -> None:
    """At least one row in every table."""
    home.mkdir()
    (home / "note.txt").write_text("x")
    with Registry.open(home, url) as registry:
        queue = Queue(registry)
        queue.submit("x", {})
        lease = queue.claim("worker")
        assert lease is not None
        queue.metric(lease, 1, "loss", 0.5)
        recipe = registry.add_recipe("a", "b", "ab" * 32).sha256
        data = registry.add_dataset("shapes", "cd" * 32, "file:///x").ref
        version = registry.add(
            home / "note.txt",
            kind="other",
            recipe=recipe,
            edges=[Parent(data, "trained_on")],
            tags={"a": "b"},
            lease=lease,
        )
        registry.alias(version.ref, "production")
        registry.add_preview(version, {}, b"png", {})
        registry.add_certificate(
            version,
            {
                "file_sha256": version.artifacts[0].sha256,
                "method": "m",
                "engine_version": "1",
                "worst_relative_error": 0.0,
            },
        )


def test_migrated_is_declared_with_every_check_index_and_trigger(engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(engine)
    migrated, declared = _schema(engine), _declared(tmp_path)
    assert migrated.keys() == declared.keys()
    for key, clauses in declared.items():
        assert migrated[key] == clauses, key
    assert {kind for kind, _ in declared} == {"table", "index", "trigger"}


def test_the_newest_revision_is_the_one_that_the_code_expects() -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_every_migration_goes_down_and_up_with_data_in_it(tmp_path: Path, engine: Engine) -> None:
    _fill(tmp_path / "home", engine.url.render_as_string())
    assert _rows(engine) > 20
    before = _schema(engine)
    schema.downgrade(engine, "base")
    assert {name for kind, name in _schema(engine) if kind == "table"} == set()
    assert schema.revision(engine) is None
    schema.upgrade(engine)
    assert _schema(engine) == before
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"


def test_upgrading_what_is_up_to_date_changes_nothing(tmp_path: Path, engine: Engine) -> None:
    _fill(tmp_path / "home", engine.url.render_as_string())
    before = (_schema(engine), _rows(engine))
    schema.upgrade(engine)
    assert (_schema(engine), _rows(engine)) == before


def test_a_migration_that_fails_leaves_the_database_as_it_was(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE edge (mine TEXT)"))
    before = _schema(engine)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(engine)
    assert _schema(engine) == before

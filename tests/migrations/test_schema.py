"""The migrations build the schema that the tables declare, and go up and down with data in it."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, select, text

from registry import Origin, Registry, schema
from registry.jobs import Queue
from registry.storage.soundness import complaints
from registry.tables import AdapterFactsRow, BlobRow, ModelRow, metadata

pytestmark = pytest.mark.both_databases

Dump = Callable[[Engine], Mapping[tuple[str, str], object]]
Fill = Callable[[str], None]


def _url(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def _rows(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table: connection.execute(text(f'SELECT count(*) FROM "{table}"')).scalar_one() for table in metadata.tables
        }


def _revisions() -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]


def test_migrated_is_declared_with_every_check_index_and_trigger(
    engine: Engine, another_engine: Engine, dump: Dump
) -> None:
    schema.upgrade(engine)
    metadata.create_all(another_engine)
    migrated, declared = dump(engine), dump(another_engine)
    assert migrated.keys() == declared.keys()
    for key, definition in declared.items():
        assert migrated[key] == definition, key
    assert {kind for kind, _ in declared} >= {"index", "trigger"}
    assert ("constraint" if engine.dialect.name == "postgresql" else "table") in {kind for kind, _ in declared}


def test_the_newest_revision_is_the_one_that_the_code_expects() -> None:
    assert _revisions()[0] == schema.HEAD


def test_every_migration_goes_down_and_up_again_with_data_in_it(engine: Engine, dump: Dump, fill: Fill) -> None:
    fill(_url(engine))
    filled = _rows(engine)
    assert [table for table, count in filled.items() if count == 0] == ["adapter_facts", "architecture"]
    at_head = dump(engine)
    for revision in [*_revisions()[1:], "base"]:
        schema.downgrade(engine, revision)
        assert (schema.revision(engine) or "base") == revision
    assert {name for _, name in dump(engine)} <= {"plpgsql", "pg_trgm"}  # an extension stays: others may use it
    schema.upgrade(engine)
    assert dump(engine) == at_head
    assert complaints(engine) == ()


@pytest.mark.parametrize("revision", _revisions()[1:])
def test_what_an_older_schema_has_a_place_for_survives_the_way_there_and_back(
    engine: Engine, revision: str, dump: Dump, fill: Fill
) -> None:
    fill(_url(engine))
    filled, at_head = _rows(engine), dump(engine)
    schema.downgrade(engine, revision)
    with engine.connect() as connection:
        kept = {table for table in filled if engine.dialect.has_table(connection, table)}
    schema.upgrade(engine)
    back = _rows(engine)
    lost = {"location": 1} if revision == "0001" else {}
    assert {table: back[table] for table in kept} == {table: filled[table] - lost.get(table, 0) for table in kept}
    assert dump(engine) == at_head
    assert complaints(engine) == ()


def test_upgrading_what_is_up_to_date_changes_nothing(engine: Engine, dump: Dump, fill: Fill) -> None:
    fill(_url(engine))
    before = (dump(engine), _rows(engine))
    schema.upgrade(engine)
    assert (dump(engine), _rows(engine)) == before


def test_a_migration_that_fails_leaves_the_database_as_it_was(engine: Engine, dump: Dump) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE edge (mine TEXT)"))
    before = dump(engine)
    with pytest.raises(Exception, match="already exists"):
        schema.upgrade(engine)
    assert dump(engine) == before


def test_a_rule_that_was_taken_away_is_a_complaint(engine: Engine) -> None:
    schema.upgrade(engine)
    on = " ON event" if engine.dialect.name == "postgresql" else ""
    with engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER event_is_never_updated{on}"))
    assert complaints(engine) == ("rule event_is_never_updated is gone or off",)


OLD_ROWS = """
INSERT INTO blob (sha256, size, blake3, data_sha256, tensor_hash, created_at)
    VALUES ('{digest}', 1, '{digest}', NULL, NULL, {at});
INSERT INTO location (blob_sha256, uri, size, mtime_ns, inode, mode) VALUES ('{digest}', 'ab/x', 1, 2, 3, 'stored');
INSERT INTO model (slug, title, kind, description, owner, next_number, created_at)
    VALUES ('old', 'Old', 'style', '', 'ann', 2, {at});
INSERT INTO version (model_id, number, digest, state, trigger_words, sampling, created_at)
    VALUES (1, 1, '{digest}', 'published', '["old"]', '{{}}', {at});
INSERT INTO origin (version_id, kind, uri, revision, embedded)
    VALUES (1, 'file', 'file:///old', NULL, '{{"b": 1, "a": 2}}');
INSERT INTO adapter_facts (version_id, identifier, kind, family, adapter, layout, rank, alpha, dtype, modules,
    parameters, architecture, identification)
    VALUES (1, '1', 'vector', 'sd15', 'lora+dora', 'kohya', 8, 8.0, 'F16', 3, 9, NULL,
    '{{"family": {{"value": "sd15", "confidence": 0.75, "evidence": []}}}}')
"""


def _write_old_rows(engine: Engine) -> None:
    with engine.begin() as connection:
        for statement in OLD_ROWS.format(digest="ab" * 32, at="'2026-01-01T00:00:00.000Z'").split(";\n"):
            connection.exec_driver_sql(statement)


def test_what_a_first_catalog_held_is_all_there_after_the_upgrade(engine: Engine, tmp_path: Path) -> None:
    schema.upgrade(engine, "0001")
    _write_old_rows(engine)
    schema.upgrade(engine)
    with Registry.open(tmp_path / "home", _url(engine)) as registry, registry.database.reading() as uow:
        version = registry.get("old:1")
        assert (version.state, version.trigger_words) == ("published", ("old",))
        assert version.created_at == datetime(2026, 1, 1, tzinfo=UTC)
        assert version.origin == Origin("file", "file:///old", None, {"b": 1, "a": 2})
        facts = uow.session.scalars(select(AdapterFactsRow)).one()
        assert (facts.confidence, facts.dora, facts.layout_hash, facts.prediction_type) == (0.75, True, None, None)
        blob = uow.session.scalars(select(BlobRow)).one()
        assert (blob.state, blob.used_at) == ("present", None)
        model = uow.session.scalars(select(ModelRow)).one()
        assert (model.license_flags, model.nsfw, model.archived_at) == ({}, False, None)


def test_on_the_way_back_a_removed_version_stays_out_of_sight(engine: Engine, fill: Fill) -> None:
    fill(_url(engine))
    with engine.begin() as connection:
        connection.execute(text("UPDATE version SET removed_at = created_at, removed_by = 'ann'"))
    schema.downgrade(engine, "0001")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT state FROM version")).scalar_one() == "archived"


def test_on_the_way_back_an_origin_that_was_unknown_then_is_a_file(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    with Registry.open(tmp_path / "home", _url(engine)) as registry:
        registry.add(tmp_path / "note.txt", kind="other", origin=Origin("invokeai", "invokeai:note"))
    schema.downgrade(engine, "0001")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT kind, uri FROM origin")).one() == ("file", "invokeai:note")


def test_on_the_way_back_a_job_is_put_aside_whose_needs_have_no_place_there(engine: Engine, tmp_path: Path) -> None:
    with Registry.open(tmp_path / "home", _url(engine)) as registry:
        queue = Queue(registry)
        plain, needy, big = (
            queue.submit("x", {}),
            queue.submit("x", {}, needs_gpu=1),
            queue.submit("x", {}, needs_memory=9),
        )
    schema.downgrade(engine, "0005")
    with engine.connect() as connection:
        states = {row.id: row.state for row in connection.execute(text("SELECT id, state FROM job"))}
    assert states == {plain.id: "queued", needy.id: "paused", big.id: "paused"}
    schema.upgrade(engine)
    with Registry.open(tmp_path / "home", _url(engine)) as registry:
        queue = Queue(registry)
        last = queue.events(needy.id)[-1]
        assert (last.actor, last.action) == ("migration", "paused")
        assert last.detail == {"why": "this schema cannot say what the job needs"}
        assert [event.action for event in queue.events(plain.id)] == ["submitted"]
        job = queue.resume(needy.id)
        assert (job.state, job.needs_gpu, job.needs_memory, job.external_id) == ("queued", 0, 0, None)

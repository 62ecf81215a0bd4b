"""Each rule of the database refuses what it is there to refuse, on both databases, whoever writes the SQL."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import Registry
from registry.jobs import Queue
from registry.tables.triggers import NEVER_EMPTIED, RULES, Rule

pytestmark = pytest.mark.both_databases

LATER = "'2999-01-01T00:00:00Z'"
EARLIER = "'1999-01-01T00:00:00Z'"
HASH = "INSERT INTO blob_hash (blob_sha256, kind, value)"
EDGE = "INSERT INTO edge (child_id, parent_id, relation, position, created_at)"
FACTS = (
    "INSERT INTO adapter_facts "
    "(version_id, identifier, kind, family, adapter, layout, modules, parameters, identification)"
)
FOUND = "'2', 'vector', 'unknown', 'lora', 'kohya', 1, 1, '{}'"

REFUSED = {
    "event_is_never_updated": "UPDATE event SET actor = 'eve'",
    "event_is_never_deleted": "DELETE FROM event",
    "job_event_is_never_updated": "UPDATE job_event SET actor = 'eve'",
    "job_event_is_never_deleted": "DELETE FROM job_event",
    "artifact_is_not_added": "INSERT INTO artifact SELECT version_id, 'more', role, blob_sha256, media_type "
    "FROM artifact",
    "artifact_is_not_updated": "UPDATE artifact SET path = 'other'",
    "artifact_is_not_deleted": "DELETE FROM artifact",
    "version_keeps_its_identity": "UPDATE version SET number = 7 WHERE id = 1",
    "version_is_never_a_draft_again": "UPDATE version SET state = 'draft'",
    "version_is_not_deleted": "DELETE FROM version WHERE id = 2",
    "job_state_follows_its_table": "UPDATE job SET state = 'succeeded'",
    "version_is_not_removed_while_used": f"UPDATE version SET removed_at = {LATER}, removed_by = 'eve' WHERE id = 1",
    "edge_names_no_removed_version": f"{EDGE} VALUES (2, 3, 'teacher', 0, {LATER})",
    "alias_period_keeps_its_past": f"UPDATE alias_period SET until = {LATER} WHERE until IS NOT NULL",
    "alias_period_is_never_deleted": "DELETE FROM alias_period",
    "event_is_never_replaced": "INSERT OR REPLACE INTO event (id, at, actor, subject, action) "
    f"VALUES (1, {LATER}, 'eve', 'note', 'added')",
    "job_event_is_never_replaced": "INSERT OR REPLACE INTO job_event (id, job_id, at, actor, action, attempt, detail) "
    f"VALUES (1, 1, {LATER}, 'eve', 'submitted', 0, '{{}}')",
    "version_is_never_replaced": "INSERT OR REPLACE INTO version (model_id, number, digest, state, trigger_words, "
    "sampling, created_at) SELECT model_id, number, digest, state, trigger_words, sampling, created_at FROM version",
    "origin_is_not_updated": "UPDATE origin SET uri = '/elsewhere'",
    "origin_is_not_deleted": "DELETE FROM origin",
    "origin_is_never_replaced": "INSERT OR REPLACE INTO origin (version_id, kind, uri, embedded) "
    "VALUES (1, 'file', '/elsewhere', '{}')",
    "edge_is_never_updated": "UPDATE edge SET weight = 0.5",
    "edge_is_not_deleted": "DELETE FROM edge",
    "edge_is_never_replaced": EDGE.replace("INSERT", "INSERT OR REPLACE") + f" VALUES (2, 1, 'teacher', 0, {LATER})",
    "adapter_facts_keep_their_version": "UPDATE adapter_facts SET version_id = 3",
    "adapter_facts_are_not_deleted": "DELETE FROM adapter_facts",
    "adapter_facts_is_never_replaced": f"{FACTS.replace('INSERT', 'INSERT OR REPLACE')} VALUES (2, {FOUND})",
    "alias_period_is_never_replaced": "INSERT OR REPLACE INTO alias_period (model_id, version_id, name, since) "
    f"VALUES (1, 1, 'production', {LATER})",
    "model_numbers_never_fall": "UPDATE model SET next_number = 1",
    "blob_keeps_its_content": "UPDATE blob SET size = size + 1",
}


@pytest.fixture
def full(registry: Registry, tmp_path: Path) -> Registry:
    """Version 2 was made from version 1, belongs to a base and was identified, version 3 was removed, version 4 is a
    draft; an alias that moved, and a job that waits.
    """
    for number in (1, 2, 3):
        (tmp_path / f"{number}.txt").write_text(str(number))
        registry.add(tmp_path / f"{number}.txt", kind="other", name="note")
    (tmp_path / "4.txt").write_text("4")
    registry.add(tmp_path / "4.txt", kind="other", name="note", draft=True)
    for child in ("note:2", "note:4"):
        registry.link(child, "note:1", "teacher")
    registry.link("note:2", "external:sd15", "adapter_of")
    registry.alias("note:1", "production")
    registry.alias("note:2", "production")
    Queue(registry).submit("x", {})
    with registry.database.writing() as uow:
        uow.session.execute(text(f"UPDATE version SET removed_at = {LATER}, removed_by = 'ann' WHERE id = 3"))
        uow.session.execute(text(f"{FACTS} VALUES (2, {FOUND})"))
        uow.commit()
    return registry


def test_every_rule_has_a_statement_that_it_refuses() -> None:
    assert REFUSED.keys() == {rule.name for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_database_itself_refuses(full: Registry, rule: Rule) -> None:
    statement = REFUSED[rule.name]
    if full.database.engine.dialect.name == "postgresql":
        statement = statement.replace(" OR REPLACE", "")
    with full.database.writing() as uow, pytest.raises(IntegrityError, match=rule.message):
        uow.session.execute(text(statement))


@pytest.mark.parametrize("table", NEVER_EMPTIED)
def test_history_cannot_be_truncated(full: Registry, table: str) -> None:
    if full.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE: a DELETE without WHERE fires the trigger")
    with full.database.writing() as uow, pytest.raises(IntegrityError, match="is never emptied"):
        uow.session.execute(text(f"TRUNCATE {table} CASCADE"))


@pytest.mark.parametrize("table", ["model", "blob"])
def test_what_history_refers_to_cannot_be_truncated_with_it(full: Registry, table: str) -> None:
    if full.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    with full.database.writing() as uow, pytest.raises(IntegrityError, match="is never emptied"):
        uow.session.execute(text(f"TRUNCATE {table} CASCADE"))


PERMITTED = {
    "an alias ends": f"UPDATE alias_period SET until = {LATER} WHERE until IS NULL",
    "a version that nothing was made from is removed": f"UPDATE version SET removed_at = {LATER}, removed_by = 'x' "
    "WHERE id = 2",
    "a removed version comes back": "UPDATE version SET removed_at = NULL, removed_by = NULL WHERE id = 3",
    "a successor may follow a removed version": f"{EDGE} VALUES (2, 3, 'supersedes', 0, {LATER})",
    "a model is renamed": "UPDATE model SET slug = 'letter'",
    "a blob is found again": f"UPDATE blob SET used_at = {LATER}, state = 'present'",
    "a draft's edge is taken back": "DELETE FROM edge WHERE child_id = 4",
    "to which base a version belongs is taken back": "DELETE FROM edge WHERE relation = 'adapter_of'",
    "a draft's origin is corrected": "UPDATE origin SET uri = '/elsewhere' WHERE version_id = 4",
    "a vector is identified again": "UPDATE adapter_facts SET family = 'sd15', architecture = 'sd15'",
    "a published version is archived": "UPDATE version SET state = 'archived'",
}


@pytest.mark.parametrize("statement", PERMITTED.values(), ids=PERMITTED)
def test_the_rules_stand_in_the_way_of_nothing_else(full: Registry, statement: str) -> None:
    with full.database.writing() as uow:
        uow.session.execute(text(statement))
        uow.commit()


CHECKED = {
    "UPDATE blob SET state = 'lost'": "state_is_known",
    f"UPDATE version SET removed_at = {LATER} WHERE id = 2": "is_removed_by_somebody",
    "UPDATE version SET recommended_low = 1.0, recommended_high = 0.5": "recommends_a_range",
    "UPDATE model SET slug = 'Papercut'": "slug_is_slug",
    "UPDATE model SET slug = '-papercut'": "slug_is_slug",
    "UPDATE model SET kind = 'weights'": "kind_is_known",
    f"UPDATE alias_period SET until = {EARLIER} WHERE until IS NULL": "ends_after_it_begins",
    "UPDATE location SET mode = 'lost'": "mode_is_known",
    "UPDATE origin SET kind = 'dream' WHERE version_id = 4": "kind_is_known",
    f"{HASH} SELECT sha256, 'md5', '0123abcd' FROM blob": "kind_is_known",
    f"{HASH} SELECT sha256, 'sshs_model', '0123ABCD' FROM blob": "value_is_hash",
    f"{HASH} SELECT sha256, 'sshs_model', '0123abc' FROM blob": "value_is_hash",
    f"INSERT INTO principal (name, role, created_at) VALUES ('eve', 'god', {LATER})": "role_is_known",
    "INSERT INTO upload (id, sha256, size, received, principal, created_at, expires_at) "
    f"SELECT 'u', sha256, 1, 2, 'eve', {LATER}, {LATER} FROM blob LIMIT 1": "fits_its_size",
    f"INSERT INTO lookup (version_id, service, asked_at, status) VALUES (1, 'x', {LATER}, 'found')": "what_it_found",
    f"{EDGE} VALUES (1, 1, 'teacher', 0, {LATER})": "is_no_loop",
    f"{EDGE} VALUES (1, 2, 'friend_of', 0, {LATER})": "relation_is_known",
}


@pytest.mark.parametrize("statement", CHECKED)
def test_what_a_check_forbids_is_refused(full: Registry, statement: str) -> None:
    with full.database.writing() as uow, pytest.raises(IntegrityError, match=CHECKED[statement]):
        uow.session.execute(text(statement))

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from registry import IllegalTransition, InvalidName, Registry, State
from registry.states import LEGAL_VERSION_STATES

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]


@pytest.fixture
def papercut(registry: Registry, base: str, write_vector: Write) -> str:
    """Two published versions of papercut; the name."""
    for seed in range(2):
        registry.add(write_vector(seed=seed), kind="style", base=base)
    return "papercut"


def _moment() -> datetime:
    """A moment that no event of before or after shares: the database keeps milliseconds."""
    time.sleep(0.005)
    now = datetime.now(UTC)
    time.sleep(0.005)
    return now


def test_what_an_alias_meant_at_any_moment_is_on_record(registry: Registry, papercut: str) -> None:
    before = _moment()
    registry.alias("papercut:1", "production")
    first = _moment()
    registry.alias("papercut:2", "production")
    second = _moment()
    registry.unalias(papercut, "production")
    moments = (before, first, second, _moment())
    found = [registry.alias_at(papercut, "production", moment) for moment in moments]
    assert [version and version.number for version in found] == [None, 1, 2, None]


def test_setting_an_alias_to_what_it_means_already_writes_no_history(registry: Registry, papercut: str) -> None:
    registry.alias("papercut:1", "production")
    events = len(registry.history(papercut))
    version = registry.alias("papercut:1", "production")
    assert version.aliases == ("production",)
    assert len(registry.history(papercut)) == events


def test_an_alias_moves_and_its_event_says_from_where(registry: Registry, papercut: str) -> None:
    registry.alias("papercut:1", "production")
    assert registry.alias("papercut:2", "production").aliases == ("production",)
    assert registry.get("papercut:1").aliases == ()
    event = registry.history(papercut)[-1]
    assert (event.actor, event.subject, event.action) == ("ann", "papercut:2", "aliased")
    assert (event.before, event.after) == (
        {"alias": "production", "number": 1},
        {"alias": "production", "number": 2},
    )


@pytest.mark.usefixtures("papercut")
def test_an_alias_of_one_model_cannot_point_into_another(registry: Registry) -> None:
    insert = "INSERT INTO alias_period (model_id, version_id, name, since) VALUES (:model, :version, 'x', :at)"
    tiny, papercut = registry.get("tiny"), registry.get("papercut")
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        uow.session.execute(text(insert), {"model": tiny.id, "version": papercut.id, "at": "2026-01-01T00:00:00Z"})


def test_dropping_what_is_not_set_changes_nothing(registry: Registry, papercut: str) -> None:
    events = len(registry.history(papercut))
    registry.unalias(papercut, "production")
    registry.untag(papercut, "approved")
    assert len(registry.history(papercut)) == events


def test_a_tag_has_one_value_and_its_changes_are_history(registry: Registry, papercut: str) -> None:
    registry.tag(papercut, "approved", "no")
    assert registry.tag(papercut, "approved", "yes").tags == {"approved": "yes"}
    assert registry.untag(papercut, "approved").tags == {}
    tagged = [(event.before, event.after) for event in registry.history(papercut)[-3:]]
    assert tagged == [
        (None, {"approved": "no"}),
        ({"approved": "no"}, {"approved": "yes"}),
        ({"approved": "yes"}, None),
    ]


@pytest.mark.parametrize("name", ["", "Production", "a b", "-x", "ties", "x" * 129])
def test_an_illegal_alias_is_refused(registry: Registry, papercut: str, name: str) -> None:
    with pytest.raises(InvalidName):
        registry.alias(papercut, name)


@pytest.mark.parametrize("key", ["", " x", "x ", "x" * 129])
def test_an_illegal_tag_is_refused(registry: Registry, papercut: str, key: str) -> None:
    with pytest.raises(InvalidName):
        registry.tag(papercut, key)


MOVES: dict[State, Callable[[Registry, str], object]] = {
    State.PUBLISHED: Registry.publish,
    State.DEPRECATED: Registry.deprecate,
    State.ARCHIVED: Registry.archive,
}
PATHS: dict[State, list[State]] = {
    State.DRAFT: [],
    State.PUBLISHED: [State.PUBLISHED],
    State.DEPRECATED: [State.PUBLISHED, State.DEPRECATED],
    State.ARCHIVED: [State.ARCHIVED],
}


@pytest.mark.parametrize("after", MOVES)
@pytest.mark.parametrize("before", State)
def test_every_move_of_a_version_is_legal_by_the_table_or_refused(
    registry: Registry, tmp_path: Path, before: State, after: State
) -> None:
    (tmp_path / "note.txt").write_text("x")
    ref = registry.add(tmp_path / "note.txt", kind="other", draft=True).ref
    for step in PATHS[before]:
        MOVES[step](registry, ref)
    if after == before or after in LEGAL_VERSION_STATES[before]:
        MOVES[after](registry, ref)
        assert registry.get(ref).state == after
        return
    with pytest.raises(IllegalTransition, match=f"is {before} and cannot become {after}"):
        MOVES[after](registry, ref)
    assert registry.get(ref).state == before


FROZEN = {
    "UPDATE artifact SET path = 'other' WHERE version_id = :id": "frozen",
    "DELETE FROM artifact WHERE version_id = :id": "frozen",
    "INSERT INTO artifact SELECT version_id, 'more', role, blob_sha256, media_type FROM artifact "
    "WHERE version_id = :id": "frozen",
    "UPDATE version SET number = 7 WHERE id = :id": "keeps its number and digest",
    "UPDATE version SET digest = 'other' WHERE id = :id": "keeps its number and digest",
    "UPDATE version SET state = 'draft' WHERE id = :id": "cannot become a draft",
    "DELETE FROM version WHERE id = :id": "cannot be deleted",
}


@pytest.mark.parametrize("statement", FROZEN)
def test_the_database_itself_keeps_what_is_published_frozen(registry: Registry, papercut: str, statement: str) -> None:
    version = registry.get(papercut)
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match=FROZEN[statement]):
        uow.session.execute(text(statement), {"id": version.id})


@pytest.mark.parametrize("statement", ["UPDATE event SET actor = 'eve'", "DELETE FROM event"])
@pytest.mark.usefixtures("papercut")
def test_the_database_itself_keeps_history_append_only(registry: Registry, statement: str) -> None:
    with registry.database.writing() as uow, pytest.raises(IntegrityError, match="append-only"):
        uow.session.execute(text(statement))

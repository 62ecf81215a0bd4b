import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from registry import Conflict, InvalidName, InvalidReference, NotFound, Registry
from registry.tables import EventRow, metadata

pytestmark = pytest.mark.both_databases


def test_history_tells_who_did_what_in_order(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    registry.add(tmp_path / "note.txt", kind="other", draft=True)
    registry.publish("note")
    registry.alias("note", "production")
    registry.deprecate("note")
    events = registry.history("note")
    assert [(event.actor, event.subject, event.action) for event in events] == [
        ("ann", "note", "created"),
        ("ann", "note:1", "added"),
        ("ann", "note:1", "published"),
        ("ann", "note:1", "aliased"),
        ("ann", "note:1", "deprecated"),
    ]
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert (events[-1].before, events[-1].after) == ({"state": "published"}, {"state": "deprecated"})


def test_history_comes_in_pages(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    registry.add(tmp_path / "note.txt", kind="other")
    whole = registry.history("note")
    first = registry.history("note", limit=2)
    assert first + registry.history("note", after=first[-1].id) == whole


def test_a_new_title_for_a_model_that_is_there_is_an_event(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    registry.add(tmp_path / "note.txt", kind="other", title="Old")
    renamed = registry.add(tmp_path / "note.txt", kind="other", title="New", license="mit")
    assert (renamed.title, renamed.license) == ("New", "mit")
    edited = [event for event in registry.history("note") if event.action == "edited"]
    assert [(event.before, event.after) for event in edited] == [
        ({"title": "Old", "license": None}, {"title": "New", "license": "mit"})
    ]


def test_the_history_of_nothing_is_not_found(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.history("nothing")


SHA = "ab" * 32
CERTIFICATE = {"method": "m", "engine_version": "1", "worst_relative_error": 0.0}

Change = Callable[[Registry], Any]
CHANGES: dict[str, tuple[Change, str, dict[str, Any] | None, dict[str, Any] | None]] = {
    "publish": (lambda r: r.publish("note:2"), "note:2", {"state": "draft"}, {"state": "published"}),
    "deprecate": (lambda r: r.deprecate("note:1"), "note:1", {"state": "published"}, {"state": "deprecated"}),
    "archive": (lambda r: r.archive("note:1"), "note:1", {"state": "published"}, {"state": "archived"}),
    "alias": (
        lambda r: r.alias("note:2", "production"),
        "note:2",
        {"alias": "production", "number": 1},
        {"alias": "production", "number": 2},
    ),
    "unalias": (lambda r: r.unalias("note:1", "production"), "note:1", {"alias": "production", "number": 1}, None),
    "tag": (lambda r: r.tag("note:1", "approved", "no"), "note:1", {"approved": "yes"}, {"approved": "no"}),
    "untag": (lambda r: r.untag("note:1", "approved"), "note:1", {"approved": "yes"}, None),
    "rename": (lambda r: r.rename("note", "letter"), "note", {"name": "note"}, {"name": "letter"}),
    "link": (
        lambda r: r.link("note:2", "note:1", "supersedes"),
        "note:2",
        None,
        {"parent": "note:1", "relation": "supersedes", "weight": None, "position": 0},
    ),
    "add_dataset": (
        lambda r: r.add_dataset("shapes", SHA, "file:///new"),
        f"dataset:shapes:{SHA[:16]}",
        {"uri": "file:///old", "license": "mit"},
        {"uri": "file:///new", "license": None},
    ),
    "add_recipe": (lambda r: r.add_recipe("a", "b", SHA), f"recipe:{SHA[:16]}", None, {"typed": "a", "sha256": SHA}),
    "add_certificate": (
        lambda r: r.add_certificate("note:1", {**CERTIFICATE, "file_sha256": r.get("note:1").artifacts[0].sha256}),
        "note:1",
        None,
        {"worst_relative_error": 0.0},
    ),
}


@pytest.fixture
def notes(registry: Registry, tmp_path: Path) -> Registry:
    """Two versions of `note`: the first published, in production and approved, the second a draft."""
    for number in (1, 2):
        (tmp_path / f"{number}.txt").write_text(str(number))
        registry.add(tmp_path / f"{number}.txt", kind="other", name="note", draft=number == 2)
    registry.alias("note:1", "production")
    registry.tag("note:1", "approved", "yes")
    registry.add_dataset("shapes", SHA, "file:///old", "mit")
    return registry


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_one_event_with_its_actor_and_what_was_before_and_after(notes: Registry, name: str) -> None:
    change, subject, before, after = CHANGES[name]
    seen = notes.history()[-1].id
    with Registry.open(notes.home, notes.url, actor="bea") as other:
        change(other)
    (event,) = notes.history(after=seen)
    assert (event.actor, event.subject, event.before, event.after) == ("bea", subject, before, after)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_changes_nothing_is_no_event(notes: Registry, name: str) -> None:
    change, *_ = CHANGES[name]
    change(notes)
    seen = notes.history()[-1].id
    try:
        change(notes)
    except NotFound:
        assert name == "rename"
    assert notes.history(after=seen) == []


def test_a_painted_picture_is_an_event_of_what_it_shows(notes: Registry) -> None:
    picture = notes.add_preview("note:1", {}, b"png", {}).picture
    assert (notes.history()[-1].subject, notes.history()[-1].after) == ("note:1", {"picture": picture})
    recipe = notes.add_recipe("a", "b", SHA).sha256
    notes.add_preview(recipe, {}, b"png", {})
    assert notes.history()[-1].subject == f"recipe:{recipe}"


def test_the_history_of_everything_holds_what_belongs_to_no_model(notes: Registry) -> None:
    whole = notes.history()
    assert {event.subject for event in whole} >= {"note", "note:1", f"dataset:shapes:{SHA[:16]}"}
    assert [event.id for event in whole] == sorted(event.id for event in whole)
    assert notes.history(limit=2) + notes.history(after=whole[1].id) == whole


def _rows(registry: Registry) -> dict[str, list[tuple[Any, ...]]]:
    with registry.database.reading() as uow:
        return {
            name: sorted(map(tuple, uow.session.execute(select(table)).all()), key=repr)
            for name, table in metadata.tables.items()
        }


def test_a_rename_changes_one_row_and_everything_else_follows(notes: Registry) -> None:
    notes.link("note:2", "note:1", "supersedes")
    before = _rows(notes)
    version = notes.get("note:1")
    notes.rename("note", "letter")
    after = _rows(notes)
    changed = {name for name in before if before[name] != after[name]} - {"search_entry"}
    assert changed == {"model", "event"}
    assert notes.get("letter@production").id == version.id
    assert [edge.parent for edge in notes.lineage("letter:2").edges] == ["letter:1"]
    assert next(event.action for event in notes.history("letter")) == "created"
    with pytest.raises(NotFound):
        notes.get("note")


def test_a_rename_to_a_name_that_is_taken_or_illegal_is_refused(notes: Registry, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    notes.add(tmp_path / "x.txt", kind="other", name="letter")
    with pytest.raises(Conflict, match="'letter' is another model"):
        notes.rename("note", "letter")
    with pytest.raises(InvalidName):
        notes.rename("note", "Letter")
    with pytest.raises(InvalidName, match="word of recipes"):
        notes.rename("note", "rank")


def test_a_dry_rename_changes_nothing_and_refuses_the_same(notes: Registry, tmp_path: Path) -> None:
    before = _rows(notes)
    notes.rename("note", "letter", dry_run=True)
    with pytest.raises(NotFound):
        notes.rename("nothing", "letter", dry_run=True)
    assert _rows(notes) == before


def _moment() -> datetime:
    """A moment that no event of before or after shares: the database keeps milliseconds."""
    time.sleep(0.005)
    now = datetime.now(UTC)
    time.sleep(0.005)
    return now


def test_what_was_production_at_a_moment_is_one_call(notes: Registry) -> None:
    first = _moment()
    notes.alias("note:2", "production")
    second = _moment()
    notes.rename("note", "letter")
    found = [notes.get("letter@production", at=moment).number for moment in (first, second, _moment())]
    assert found == [1, 2, 2]
    assert notes.get("letter@production", at=first.astimezone()).number == 1
    assert notes.get("letter@production", at=first.astimezone().replace(tzinfo=None)).number == 1


def test_what_meant_nothing_at_a_moment_is_not_found(notes: Registry) -> None:
    with pytest.raises(NotFound, match="meant nothing at 1999-01-01"):
        notes.get("note@production", at=datetime(1999, 1, 1, tzinfo=UTC))


def test_only_an_alias_meant_something_else_at_another_moment(notes: Registry) -> None:
    with pytest.raises(InvalidReference, match="expected NAME@ALIAS"):
        notes.get("note:1", at=datetime.now(UTC))


def test_times_are_told_in_utc_and_do_not_run_backwards(notes: Registry) -> None:
    with notes.database.reading() as uow:
        times = uow.session.scalars(select(EventRow.at).order_by(EventRow.id)).all()
    assert {time.tzinfo for time in times} == {UTC}
    assert times == sorted(times)
    assert notes.get("note:1").created_at.tzinfo is UTC


def test_an_event_commits_with_its_change_or_not_at_all(notes: Registry) -> None:
    seen = notes.history()[-1].id
    with notes.database.writing() as uow:
        uow.session.execute(text("UPDATE model SET title = 'half done'"))
        uow.session.add(EventRow(actor="ann", subject="note", model_id=1, action="edited"))
        uow.session.flush()
    assert notes.history(after=seen) == []
    assert notes.get("note:1").title != "half done"

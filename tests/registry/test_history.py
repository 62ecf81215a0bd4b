from pathlib import Path

import pytest

from registry import NotFound, Registry


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

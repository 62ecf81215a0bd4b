from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import Conflict, InvalidName, InvalidQuery, NotFound, Refused, Registry

pytestmark = pytest.mark.both_databases


@pytest.fixture
def library(registry: Registry, tmp_path: Path) -> Registry:
    """Models one, two and three, the first with two versions."""
    for name, content in (("one", "1"), ("one", "2"), ("two", "3"), ("three", "4")):
        (tmp_path / "note.txt").write_text(content)
        registry.add(tmp_path / "note.txt", kind="other", name=name, tags={"set": content})
    return registry


def test_what_is_said_of_a_model_and_of_a_version_is_changed_with_history(library: Registry) -> None:
    changes = {
        "title": "First",
        "license": "MIT",
        "nsfw": True,
        "note": "try 0.8",
        "trigger_words": [" zap ", "zap", "cut"],
        "recommended_strength": 1,
        "recommended_low": 0.6,
        "recommended_high": 1.2,
        "tags": {"approved": "yes", "set": None},
    }
    (edited,) = library.edit("one:1", changes=changes)
    assert (edited.title, edited.license, edited.nsfw) == ("First", "mit", True)
    assert (edited.note, edited.trigger_words, edited.tags) == ("try 0.8", ("zap", "cut"), {"approved": "yes"})
    assert (edited.recommended_strength, edited.recommended_low, edited.recommended_high) == (1.0, 0.6, 1.2)
    assert library.get("one:2").note is None
    assert library.get("one:2").title == "First"
    events = [(event.subject, event.action) for event in library.history("one")[-4:]]
    assert events == [("one:1", "edited"), ("one:1", "tagged"), ("one:1", "untagged"), ("one", "edited")]
    assert library.history("one")[-1].before == {"title": "one", "license": None, "nsfw": False}
    assert library.search("zap license:mit")[0].ref == "one:1"


def test_editing_to_what_is_so_already_leaves_no_event(library: Registry) -> None:
    library.edit("one", changes={"title": "First"})
    count = len(library.history("one"))
    library.edit("one:1", "one:2", changes={"title": "First", "note": None})
    assert len(library.history("one")) == count


def test_a_query_names_what_is_edited_and_references_add_to_it(library: Registry) -> None:
    edited = library.edit("three", "two", where="name:one,two", changes={"note": "x"})
    assert [version.ref for version in edited] == ["three:1", "two:1", "one:2", "one:1"]
    assert {version.ref for version in library.select("two", where="blue")} == {"two:1"}
    assert library.edit(where="name:nobody", changes={"note": "y"}) == []


def test_a_dry_run_shows_what_would_be_and_keeps_nothing(library: Registry) -> None:
    (shown,) = library.edit("two", changes={"note": "x"}, dry_run=True)
    assert shown.note == "x"
    assert library.get("two").note is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"colour": "red"}, "edit colour: expected title, description"),
        ({"title": None}, "edit title: got None, expected a text"),
        ({"nsfw": "yes"}, "expected true or false"),
        ({"recommended_strength": float("nan")}, "expected a finite number"),
        ({"recommended_strength": True}, "expected a finite number"),
        ({"trigger_words": "zap"}, "expected a list of words"),
        ({"trigger_words": 3}, "expected a list of words"),
        ({"tags": ["a"]}, "edit tags: got"),
        ({"tags": {"a": 3}}, "expected a text"),
        ({"tags": {"a": "x" * 257}}, "expected 256 at most"),
        ({"trigger_words": ["a", "a\0b"]}, r"edit trigger_words\[1\] .* holds a NUL character. Take it out"),
        ({"trigger_words": ["a\ud800b"]}, r"edit trigger_words\[0\] .* is no Unicode at character 1. Take it out"),
        ({"license_flags": {"a": {"b": [float("nan")]}}}, r"edit license_flags.a.b\[0\]: got nan, expected a finite"),
        ({"license_flags": {"a\0": 1}}, "edit license_flags .* holds a NUL character"),
        ({"license_flags": {1: "a"}}, "edit license_flags: key 1 is of type int, expected a text"),
        ({"sampling": {"steps": float("inf")}}, "edit sampling.steps: got inf, expected a finite number"),
        ({"sampling": {"steps": {1, 2}}}, "edit sampling.steps: got .* of type set, expected an object"),
        ({"sampling": {"prompt": "a\0b"}}, "edit sampling.prompt .* holds a NUL character"),
        ({"recommended_low": 2.0, "recommended_high": 1.0}, "range 2 to 1, expected the lower number first"),
    ],
)
def test_a_change_that_is_refused_leaves_all_versions_as_they_were(
    library: Registry, changes: dict[str, Any], reason: str
) -> None:
    before = library.search()
    with pytest.raises(InvalidName, match=reason):
        library.edit(where="kind:other", changes={"note": "x", **changes})
    assert library.search() == before


def test_a_where_that_means_everything_and_a_reference_to_nothing_are_refused(library: Registry) -> None:
    with pytest.raises(InvalidQuery, match="an empty query means everything"):
        library.edit(where=" ", changes={"note": "x"})
    with pytest.raises(NotFound):
        library.edit("one", "nobody", changes={"note": "x"})
    assert library.get("one").note is None


def test_favourites_are_each_principals_own(library: Registry) -> None:
    library.favourite("one")
    library.favourite("one:1")
    library.favourite("two", principal="eve")

    def names(who: str) -> list[str]:
        return [version.ref for version in library.search(favourite_of=who)]

    assert (names("ann"), names("eve"), names("bob")) == (["one:2", "one:1"], ["two:1"], [])
    library.unfavourite("one", principal="eve")
    library.unfavourite("one:2")
    assert names("ann") == []
    told = [event.action for event in library.history("one") if "favoured" in event.action]
    assert told == ["favoured", "unfavoured"]


@pytest.fixture
def recognised(registry: Registry, write_vector: Callable[..., Path], write_base: Callable[..., Path]) -> Registry:
    """A base called tiny, and a vector called papercut whose kind was guessed."""
    registry.add(write_base(), kind="base", name="tiny")
    registry.add(write_vector(), kind="style", name="papercut", kind_is_guess=True)
    return registry


def test_a_kind_that_was_guessed_wrong_is_corrected_with_history_and_search_follows(recognised: Registry) -> None:
    (edited,) = recognised.edit("papercut", changes={"kind": "acceleration"})
    assert (edited.kind, [one.ref for one in recognised.search("kind:acceleration")]) == ("acceleration", [edited.ref])
    event = recognised.history("papercut")[-1]
    assert (event.action, event.before, event.after) == ("edited", {"kind": "style"}, {"kind": "acceleration"})


def test_a_corrected_kind_outlives_the_next_guess_but_not_what_somebody_says(
    recognised: Registry, write_vector: Callable[..., Path]
) -> None:
    (edited,) = recognised.edit("papercut", changes={"kind": "acceleration"})
    path = write_vector()
    assert recognised.add(path, kind="style", name="papercut", kind_is_guess=True).id == edited.id
    with pytest.raises(Conflict, match="tau edit papercut --kind style"):
        recognised.add(path, kind="style", name="papercut")


@pytest.mark.parametrize(
    ("ref", "kind", "error", "words"),
    [
        ("tiny", "style", Refused, "is a base"),
        ("papercut", "base", InvalidName, "expected acceleration or composition or other or style"),
        ("papercut", ["style"], InvalidName, "expected acceleration"),
        ("one", "style", Refused, "not recognised as a vector"),
    ],
)
def test_a_kind_that_the_content_cannot_be_of_is_refused(
    recognised: Registry, tmp_path: Path, ref: str, kind: Any, error: Any, words: str
) -> None:
    (tmp_path / "note.txt").write_text("1")
    recognised.add(tmp_path / "note.txt", kind="other", name="one")
    before = recognised.get(ref)
    with pytest.raises(error, match=words):
        recognised.edit(ref, changes={"kind": kind})
    assert recognised.get(ref) == before


def test_a_query_of_nothing_but_stars_edits_nothing(library: Registry) -> None:
    for where in ("*", "-*", "one -**"):
        with pytest.raises(InvalidQuery, match="holds no word"):
            library.edit(where=where, changes={"note": "x"})
    assert library.select("one:1", "two", "three")[0].note is None

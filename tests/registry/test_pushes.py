"""Pushes: the commit of a repository that holds a version, as an event of its model."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import NotFound, Registry

FILES = {"README.md": "a" * 40, "papercut.safetensors": "b" * 64}
ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def papercut(registry: Registry, write_vector: Callable[..., Path]) -> Registry:
    """A registry with two versions of `papercut`."""
    for seed in (1, 2):
        registry.add(write_vector(seed=seed), kind="style", name="papercut")
    return registry


@pytest.mark.both_databases
def test_the_newest_push_is_found_by_model_and_by_repository(papercut: Registry) -> None:
    assert papercut.last_push("papercut") is None
    papercut.record_push("papercut:1", "ann/papercut", ONE, FILES)
    papercut.record_push("papercut:2", "ann/other", TWO, FILES)
    newest, mine = papercut.last_push("papercut"), papercut.last_push("papercut", "ann/papercut")
    assert newest is not None
    assert (newest.ref, newest.repo, newest.commit) == ("papercut:2", "ann/other", TWO)
    assert mine is not None
    assert (mine.ref, mine.commit, mine.files) == ("papercut:1", ONE, FILES)
    assert papercut.last_push("papercut", "ann/nothing") is None


@pytest.mark.both_databases
def test_a_push_is_an_event_that_says_what_was_there_before(papercut: Registry) -> None:
    papercut.record_push("papercut:1", "ann/papercut", ONE, FILES)
    papercut.record_push("papercut:2", "ann/papercut", TWO, FILES)
    event = papercut.history("papercut")[-1]
    assert (event.action, event.actor, event.subject) == ("pushed", "ann", "papercut:2")
    assert event.before == {"version": "papercut:1", "commit": ONE}
    assert event.after == {"repo": "ann/papercut", "commit": TWO, "files": FILES}


def test_the_same_push_again_writes_nothing(papercut: Registry) -> None:
    papercut.record_push("papercut", "ann/papercut", ONE, FILES)
    before = papercut.history("papercut")
    papercut.record_push("papercut", "ann/papercut", ONE, FILES)
    assert papercut.history("papercut") == before


def test_a_model_that_is_not_there_was_never_pushed(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.last_push("nothing")

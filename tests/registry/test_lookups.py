"""What others say about versions: kept word for word, filled in where nothing is known, taken back whole."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import InvalidName, NotFound, Registry
from registry.lookups import Lookups, Offer

Write = Callable[..., Path]
pytestmark = pytest.mark.both_databases

OFFER = Offer(
    title="Paper Cut",
    description="for posters",
    license="mit",
    license_flags={"allowNoCredit": False},
    nsfw=True,
    author="Bea",
    note="a note",
    trigger_words=("papercut", "white"),
    recommended_strength=0.8,
    recommended_low=0.5,
    recommended_high=1.0,
    tags=("style", "paper"),
)


@pytest.fixture
def ref(registry: Registry, write_vector: Write, write_base: Write) -> str:
    """A vector without a word about it."""
    registry.add(write_base(), kind="base")
    return registry.add(write_vector(), kind="style").ref


@pytest.fixture
def lookups(registry: Registry) -> Lookups:
    """The statements of the registry."""
    return Lookups(registry.database)


def test_an_offer_fills_in_every_blank_and_says_which(registry: Registry, lookups: Lookups, ref: str) -> None:
    said = lookups.record(ref, "civitai", "found", uri="https://x/1", document={"a": 1}, offer=OFFER)
    version = registry.get(ref)
    assert (version.title, version.description, version.license) == ("Paper Cut", "for posters", "mit")
    assert (version.author, version.note, version.trigger_words) == ("Bea", "a note", ("papercut", "white"))
    assert (version.recommended_strength, set(version.tags)) == (0.8, {"style", "paper"})
    assert len(said.filled) == 12
    assert (said.version, said.status, said.document, said.is_linked) == (ref, "found", {"a": 1}, True)


def test_unlinking_restores_every_blank(registry: Registry, lookups: Lookups, ref: str) -> None:
    before = registry.get(ref)
    lookups.record(ref, "civitai", "found", document={}, offer=OFFER)
    lookups.unlink(ref)
    assert registry.get(ref) == before


def test_two_statements_share_the_blanks_and_each_takes_back_its_own(
    registry: Registry, lookups: Lookups, ref: str
) -> None:
    lookups.record(ref, "a1111", "found", document={"x": 1}, offer=Offer(trigger_words=("mine",), tags=("own",)))
    lookups.record(ref, "civitai", "found", document={"y": 1}, offer=OFFER)
    assert registry.get(ref).trigger_words == ("mine",)
    lookups.unlink(ref, "civitai")
    version = registry.get(ref)
    assert (version.trigger_words, set(version.tags), version.description) == (("mine",), {"own"}, "")
    assert [one.verdict for one in lookups.of(ref)] == ["found", "unlinked"]


def test_the_same_words_again_are_one_row_and_failures_are_rows_of_their_own(lookups: Lookups, ref: str) -> None:
    first = lookups.record(ref, "civitai", "found", uri="https://x/1", document={"a": [1, {"b": None}]})
    assert lookups.record(ref, "civitai", "found", uri="https://x/1", document={"a": [1, {"b": None}]}).id == first.id
    lookups.record(ref, "civitai", "failed", uri="https://x")
    lookups.record(ref, "civitai", "missing", uri="https://x")
    assert [one.status for one in lookups.of(ref)] == ["found", "failed", "missing"]


def test_an_unlinked_match_stays_unlinked_and_another_match_is_linked(lookups: Lookups, ref: str) -> None:
    lookups.record(ref, "civitai", "found", uri="https://x/1", document={"v": 1}, offer=OFFER)
    lookups.unlink(ref, "civitai")
    again = lookups.record(ref, "civitai", "found", uri="https://x/1", document={"v": 2}, offer=OFFER)
    assert (again.is_linked, again.filled) == (False, ())
    assert lookups.record(ref, "civitai", "found", uri="https://x/2", document={"v": 3}, offer=OFFER).is_linked


def test_words_that_a_database_cannot_hold_are_held_as_near_as_it_can(
    registry: Registry, lookups: Lookups, ref: str
) -> None:
    offer = Offer(description="a\0b", trigger_words=("half \ud83d",), tags=("t\0g",))
    said = lookups.record(ref, "civitai", "found", document={"k\0": ["\ud800", "fine é 漢"]}, offer=offer)
    assert said.document == {"k\ufffd": ["?", "fine é 漢"]}
    assert registry.get(ref).description == "a\ufffdb"
    assert lookups.record(ref, "civitai", "found", document={"k\0": ["\ud800", "fine é 漢"]}).id == said.id


def test_each_change_is_an_event_with_what_was_before(registry: Registry, lookups: Lookups, ref: str) -> None:
    lookups.record(ref, "civitai", "found", document={}, offer=OFFER)
    lookups.unlink(ref)
    filled_model, filled_version, unlinked = registry.history("papercut")[-3:]
    assert (filled_model.action, filled_model.subject) == ("filled in", "papercut")
    assert (filled_version.action, filled_version.subject) == ("filled in", ref)
    assert filled_version.after is not None
    assert filled_version.after["recommended_strength"] == 0.8
    assert (unlinked.action, unlinked.actor) == ("unlinked", "ann")
    assert unlinked.before is not None
    assert unlinked.before["filled"]["title"] == "Paper Cut"


def test_what_cannot_be_is_refused(lookups: Lookups, ref: str) -> None:
    with pytest.raises(NotFound):
        lookups.record("nothing", "civitai", "missing")
    with pytest.raises(NotFound, match="of any service"):
        lookups.unlink(ref)
    with pytest.raises(InvalidName, match="1 to 32"):
        lookups.record(ref, "", "missing")


def test_the_same_failure_again_is_one_row_that_was_asked_about_last(lookups: Lookups, ref: str) -> None:
    first = lookups.record(ref, "civitai", "missing", uri="https://x")
    lookups.record(ref, "civitai", "failed", uri="https://x")
    for _ in range(3):
        again = lookups.record(ref, "civitai", "missing", uri="https://x")
        assert again.id == first.id
    assert again.asked_at >= first.asked_at
    assert [one.status for one in lookups.of(ref)] in (["failed", "missing"], ["missing", "failed"])
    lookups.record(ref, "civitai", "missing", uri="https://y")
    lookups.record(ref, "other", "missing", uri="https://x")
    assert len(lookups.of(ref)) == 4

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from registry import LicenseConflict, Parent, Registry
from registry.license_report import conflicts_of_sum

pytestmark = pytest.mark.both_databases

Note = Callable[..., str]


@pytest.fixture
def note(registry: Registry, tmp_path: Path) -> Note:
    """note(name, license, *(parent, relation)) -> the reference of a small draft, or with publish=True as imported."""

    def write(name: str, license: str | None, *edges: tuple[str, str], publish: bool = False, **said: Any) -> str:
        path = tmp_path / f"{name}.txt"
        path.write_text(name)
        parents = [Parent(parent, relation, 0.5, place) for place, (parent, relation) in enumerate(edges)]
        return registry.add(
            path, kind="other", name=name, license=license, edges=parents, draft=not publish, **said
        ).ref

    return write


def test_a_licence_that_allows_more_than_an_ancestor_conflicts_however_far_up_it_is(
    registry: Registry, note: Note
) -> None:
    note("base", "cc-by-nc-4.0")
    note("middle", None, ("base", "converted_from"))
    note("top", "mit", ("middle", "resized_from"))
    report = registry.license_report("top")
    assert report.conflicts == (
        "top:1 is mit, which allows to offer a service, sell images, sell the weights; base:1 (cc-by-nc-4.0) does not",
    )
    assert report.terms.commercial == frozenset()
    assert {one.ref: one.relation for one in report.inherited} == {
        "middle:1": "resized_from",
        "base:1": "converted_from",
    }
    assert "middle:1 states no licence: what it allows is not known" in report.notices


def test_use_restrictions_are_not_dropped(registry: Registry, note: Note) -> None:
    note("base", "openrail++")
    for license, conflicts in (("mit", 1), ("creativeml-openrail-m", 0), (None, 0)):
        report = registry.license_report(note(f"style-{conflicts}-{license}".lower(), license, ("base", "adapter_of")))
        assert len(report.conflicts) == conflicts, license
        assert "pass on the list of forbidden uses of the RAIL licences" in report.notices


def test_a_ban_on_derivatives_reaches_what_contains_it_and_not_an_adapter(registry: Registry, note: Note) -> None:
    note("frozen", "cc-by-nd-4.0")
    assert not registry.license_report(note("lora", None, ("frozen", "adapter_of"))).conflicts
    note("base", None, ("frozen", "converted_from"))
    assert not registry.license_report(note("other-lora", None, ("base", "adapter_of"))).conflicts
    merged = registry.license_report(note("merged", None, ("lora", "composed_from"), ("frozen", "baked_into")))
    assert merged.conflicts == ("frozen:1 (cc-by-nd-4.0) allows no derivatives, and merged:1 is one (baked_into)",)


def test_licences_that_ask_for_themselves_contradict_each_other(registry: Registry, note: Note) -> None:
    note("a", "cc-by-sa-4.0")
    note("b", "gpl-3.0")
    both = registry.license_report(note("both", None, ("a", "composed_from"), ("b", "composed_from")))
    assert both.conflicts == ("a:1 (cc-by-sa-4.0) and b:1 (gpl-3.0) ask for different licences",)
    assert registry.license_report(note("kept", "cc-by-sa-4.0", ("a", "resized_from"))).conflicts == ()
    other = registry.license_report(note("other", "mit", ("a", "resized_from"))).conflicts
    assert other == ("a:1 (cc-by-sa-4.0) asks for the same licence, and other:1 is mit",)


def test_data_sets_and_things_outside_are_notices(registry: Registry, note: Note) -> None:
    data = registry.add_dataset("pictures", "ab" * 32, "file:///x", "cc-by-nc-4.0").ref
    report = registry.license_report(
        note("style", "mit", (data, "trained_on"), ("external:someone/base", "adapter_of"), (data, "produced_by"))
    )
    assert report.conflicts == ()
    assert f"style:1 was trained on {data} (cc-by-nc-4.0), whose licence restricts commercial use" in report.notices
    assert "external:someone/base states no licence: what it allows is not known" in report.notices


def test_a_successor_inherits_nothing(registry: Registry, note: Note) -> None:
    note("old", "cc-by-nc-4.0")
    assert registry.license_report(note("new", "mit", ("old", "supersedes"))).inherited == ()


def test_flags_count_as_licences_do(registry: Registry, note: Note) -> None:
    note("base", None)
    registry.edit("base", changes={"license_flags": {"allowDerivatives": False}})
    report = registry.license_report(note("sum", None, ("base", "composed_from")))
    assert report.conflicts == ("base:1 (no licence stated) allows no derivatives, and sum:1 is one (composed_from)",)


def test_a_conflict_gates_publishing_until_it_is_solved_or_somebody_says_why(registry: Registry, note: Note) -> None:
    note("base", "openrail++")
    note("one", "mit", ("base", "adapter_of"))
    note("two", "mit", ("base", "adapter_of"))
    with pytest.raises(LicenseConflict, match=r"tau edit one:1 --license ID.* --despite REASON"):
        registry.publish("one")
    assert registry.get("one").state == "draft"
    assert registry.publish("two", despite="the author agreed").state == "published"
    event = registry.history("two")[-1]
    assert event.after is not None
    assert (event.action, event.after["despite"], len(event.after["conflicts"])) == (
        "published",
        "the author agreed",
        1,
    )
    registry.edit("one", changes={"license": "OpenRAIL++"})
    assert registry.publish("one").license == "openrail++"


def test_an_import_in_conflict_stays_a_draft_and_history_says_why(registry: Registry, note: Note) -> None:
    note("base", "openrail++")
    ref = note("style", "mit", ("base", "adapter_of"), publish=True)
    assert registry.get(ref).state == "draft"
    event = registry.history("style")[-1]
    assert (event.action, event.after) == (
        "held",
        {"conflicts": ["style:1 is mit, which drops the use restrictions of base:1 (openrail++)"]},
    )
    assert registry.get(note("free", "openrail", ("base", "adapter_of"), publish=True)).state == "published"


def forbidden(registry: Registry, *refs: str) -> tuple[str, ...]:
    with registry.database.reading() as uow:
        return conflicts_of_sum(uow, refs)


def test_a_sum_is_a_derivative_of_each_of_its_vectors(registry: Registry, note: Note) -> None:
    note("frozen", "cc-by-nd-4.0")
    note("free", "mit", ("frozen", "converted_from"))
    said = "frozen:1 (cc-by-nd-4.0) allows no derivatives, and their sum is one"
    assert forbidden(registry, note("open", "mit")) == ()
    assert forbidden(registry, "open", "frozen") == (f"{said} (composed_from)",)
    assert forbidden(registry, "open", "free") == (f"{said} (converted_from)",)


def test_a_vector_that_asks_for_its_own_licence_meets_one_that_forbids_what_that_allows(
    registry: Registry, note: Note
) -> None:
    note("left", "gpl-3.0")
    note("careful", "cc-by-nc-4.0")
    assert forbidden(registry, "left", "careful") == (
        "their sum is gpl-3.0, which allows to offer a service, sell images, sell the weights; "
        "careful:1 (cc-by-nc-4.0) does not",
    )


def test_two_vectors_that_each_ask_for_their_own_licence_cannot_be_summed_under_either(
    registry: Registry, note: Note
) -> None:
    note("one", "gpl-3.0")
    note("two", "cc-by-sa-4.0")
    (sentence,) = forbidden(registry, "one", "two")
    assert "ask for different licences" in sentence


def test_a_ban_on_derivatives_of_the_base_does_not_reach_a_sum_of_its_adapters(registry: Registry, note: Note) -> None:
    note("frozen", "cc-by-nd-4.0")
    assert forbidden(registry, note("a", "mit", ("frozen", "adapter_of")), note("b", None)) == ()

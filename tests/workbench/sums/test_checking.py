"""A verdict with what the registry knows: kinds, licences, words, profiles, the base, and measures."""

from collections.abc import Callable
from pathlib import Path

import pytest

from arithmetic import SamplingSettings
from registry import Registry
from workbench.recipes.resolving import resolve_recipe
from workbench.sums.checking import check, verdict_of
from workbench.sums.measuring import recorded_measures


@pytest.fixture
def known(based: Registry, lora: Callable[..., bytes], tmp_path: Path) -> Registry:
    """Two styles that share a word, and two accelerations of which only one solver is known."""
    said = (
        ("soft", "style", {"trigger_words": ("paper cut",), "license": "cc-by-nd-4.0"}),
        ("hard", "style", {"trigger_words": ("Paper Cut",)}),
        ("fast", "acceleration", {"sampling": {"solver": "lcm", "steps": [4]}}),
        ("swift", "acceleration", {"sampling": {"solver": "tcd"}}),
        ("odd", "style", {"sampling": {"steps": "four"}}),
    )
    for seed, (name, kind, more) in enumerate(said):
        (tmp_path / f"{name}.safetensors").write_bytes(lora(seed))
        based.add(tmp_path / f"{name}.safetensors", kind=kind, name=name, draft=True, **more)
    return based


def codes(registry: Registry, recipe: str) -> list[str]:
    return [finding.code for finding in check(registry, recipe).verdict.findings if finding.code != "rank-growth"]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("hard + fast", []),
        ("soft + fast", ["licence-conflict"]),
        ("hard + soft", ["licence-conflict", "trigger-clash"]),
        ("fast + swift", ["two-accelerations", "sampling-constraints"]),
        ("odd", ["sampling-constraints"]),
    ],
)
def test_what_the_registry_knows_is_found(recipe: str, expected: list[str], known: Registry) -> None:
    assert sorted(codes(known, recipe)) == sorted(expected)


def test_a_profile_that_cannot_be_read_is_a_note_that_says_so(known: Registry) -> None:
    (finding,) = [one for one in check(known, "odd").verdict.findings if one.code == "sampling-constraints"]
    assert finding.severity == "note"
    assert "odd:1: sampling profile: steps is 'four'" in finding.sentence


def test_settings_are_compared_with_the_profiles(known: Registry) -> None:
    resolved = resolve_recipe(known, "hard + fast")
    settings = SamplingSettings("ddim", 30, 7.5)
    found = verdict_of(known, resolved, settings=settings).findings
    assert "fast:1 is made for solver lcm, not ddim; 4 steps, not 30." in [one.sentence for one in found]


def test_the_first_verdict_records_measures_and_the_next_one_reads_no_tensor(known: Registry) -> None:
    assert recorded_measures(known, known.get("hard")) is None
    first = check(known, "hard + fast").verdict
    assert recorded_measures(known, known.get("hard")) is not None
    assert check(known, "hard + fast").verdict == first

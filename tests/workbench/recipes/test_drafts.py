from pathlib import Path
from typing import Any

import pytest

from registry import Registry
from workbench.recipes.drafts import bases, pinned, read_draft


@pytest.fixture
def pair(stocked: Registry, lora: Any, tmp_path: Path) -> Registry:
    """The base `tiny`, the acceleration `fast`, the styles `soft` and `hard`, of which hard has trigger words."""
    (tmp_path / "hard.safetensors").write_bytes(lora(7))
    stocked.add(tmp_path / "hard.safetensors", kind="style", name="hard", trigger_words=("hard edges", "ink"))
    return stocked


def test_a_sound_draft_tells_its_base_its_terms_and_their_words(pair: Registry) -> None:
    draft = read_draft(pair, "0.8*soft{unet.mid: 0.5} +  1.0*fast + 0.5*hard")
    assert (draft.error, draft.is_sound, draft.has_vectors) == (None, True, True)
    assert draft.text == "0.8*soft{unet.mid: 0.5} + fast + 0.5*hard"
    assert draft.base is not None
    assert draft.base.ref == "tiny:1"
    assert [term.version.ref for term in draft.terms if term.version] == ["soft:1", "fast:1", "hard:1"]
    assert draft.trigger_words == ("hard edges", "ink")
    assert "sha256:" in (draft.locked or "")


def test_only_parts_that_a_vector_adapts_have_a_slider_and_those_that_have_a_factor(pair: Registry) -> None:
    assert [term.parts for term in read_draft(pair, "soft + hard").terms] == [("unet.mid",), ("unet.mid",)]
    assert read_draft(pair, "soft{te: 0.5}").terms[0].parts == ("unet.mid", "te")


def test_an_empty_draft_paints_the_base_alone(pair: Registry) -> None:
    nothing, base = read_draft(pair, ""), read_draft(pair, " ", "tiny")
    assert (nothing.painted, nothing.is_sound, nothing.error) == ("", False, None)
    assert (base.painted, base.is_sound, base.has_vectors) == ("tiny:1", True, False)


@pytest.mark.parametrize("marked", ["tiny", "hard"])
def test_a_draft_is_marked_as_its_vectors_and_its_base_are(pair: Registry, marked: str) -> None:
    drafts = [("soft + hard", None), ("tiny + soft + hard", None), ("", "tiny"), ("soft", "tiny")]
    assert not any(read_draft(pair, *draft).is_marked for draft in drafts)
    pair.edit(marked, changes={"nsfw": True})
    base_alone = marked == "tiny"
    assert [read_draft(pair, *draft).is_marked for draft in drafts] == [True, True, base_alone, base_alone]


def test_a_text_that_cannot_be_read_is_kept_with_its_caret(pair: Registry) -> None:
    draft = read_draft(pair, "0.8*soft +", "tiny")
    assert (draft.text, draft.terms, draft.is_sound) == ("0.8*soft +", (), False)
    assert "^" in (draft.error or "")


def test_beside_an_unknown_name_the_others_keep_their_sliders(pair: Registry) -> None:
    draft = read_draft(pair, "soft + sotf", "tiny")
    assert [term.version.ref if term.version else None for term in draft.terms] == ["soft:1", None]
    assert "sotf" in (draft.error or "")
    assert "soft" in (draft.error or "")
    assert draft.base is not None
    assert not draft.is_sound


def test_findings_that_forbid_the_sum_make_it_unsound(pair: Registry) -> None:
    draft = read_draft(pair, "soft - soft")
    assert draft.has_errors
    assert not draft.is_sound
    assert draft.error is None


def test_how_it_is_sampled_is_judged_too(pair: Registry) -> None:
    pair.edit("fast", changes={"sampling": {"solver": "lcm", "steps": [2, 4]}})
    apt, inapt = (read_draft(pair, "hard + fast", said={"solver": solver}) for solver in ("lcm", "ddim"))
    assert {finding.code for finding in inapt.findings} - {finding.code for finding in apt.findings} == {
        "sampling-constraints"
    }


def test_settings_that_are_refused_are_said_and_the_rest_is_known_all_the_same(pair: Registry) -> None:
    draft = read_draft(pair, "hard + fast", said={"solver": "lcm", "steps": 1000})
    assert "50" in (draft.error or "")
    assert not draft.is_sound
    assert draft.sampling == draft.recommended
    assert draft.trigger_words == ("hard edges", "ink")
    assert read_draft(pair, "hard", said={"solver": "ddim", "steps": 9}).sampling.steps == 9


def test_a_path_is_not_looked_at(pair: Registry, vector_file: Path) -> None:
    draft = read_draft(pair, f"soft + {vector_file}")
    assert "is a path" in (draft.error or "")


def test_a_base_among_several_is_for_people_to_choose(pair: Registry, tmp_path: Path, write_base: Any) -> None:
    folder = write_base(tmp_path / "other")
    (folder / "README.md").write_text("another one")
    pair.add(folder, kind="base", name="tiny-too")
    draft = read_draft(pair, "soft")
    assert draft.base is None
    assert not draft.is_sound
    assert {base.model for base in draft.candidates} == {"tiny", "tiny-too"} == {base.model for base in bases(pair)}
    assert read_draft(pair, "soft", "tiny-too").is_sound
    assert "choose a base" in (read_draft(pair, "", "soft").error or "")


def test_a_pinned_recipe_names_versions_and_on_request_keeps_aliases(pair: Registry) -> None:
    pair.alias("soft:1", "production")
    text = "tiny + 0.8*soft@production + ties(fast, hard:1)"
    assert pinned(pair, text) == "tiny:1 + 0.8*soft:1 + ties(fast:1, hard:1)"
    assert pinned(pair, text, keep_aliases=True) == "tiny:1 + 0.8*soft@production + ties(fast:1, hard:1)"
    assert pinned(pair, "") == ""

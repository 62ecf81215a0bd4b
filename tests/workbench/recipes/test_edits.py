import pytest

from arithmetic import RecipeSyntaxError, parse
from workbench.errors import UnknownTerm
from workbench.recipes.edits import (
    canonical,
    has_word,
    terms_of,
    with_part,
    with_reference,
    with_references,
    with_strength,
    with_term,
    with_word,
    without_term,
    without_word,
)

RICH = "sd15 + 0.8*papercut{/attn2/: 1.2}{unet.down: 0.5, te: 0} - 0.3*blur + ties(0.7*a, b; density=0.3) | rank(64)"
EVERY_KIND = [
    "papercut",
    "-0.3*blur + a",
    "0.8*papercut{lbw: [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]} + lcm",
    "0.8*papercut{unet.down: 0.5, unet.mid: 0, else: 0.7}",
    "2*(a + b | rank(4)) + ties(a, b; seed=1)",
    RICH,
]


def test_the_terms_are_as_they_stand() -> None:
    base, papercut, blur, ties = terms_of(RICH)
    assert (base.reference, base.strength) == ("sd15", 1.0)
    assert (papercut.reference, papercut.strength, papercut.parts) == ("papercut", 0.8, {"unet.down": 0.5, "te": 0.0})
    assert papercut.other_scopes == "{/attn2/: 1.2}"
    assert (blur.reference, blur.strength, blur.position) == ("blur", -0.3, 2)
    assert (ties.reference, ties.text) == (None, "ties(0.7*a, b; density=0.3)")


def test_an_empty_recipe_has_no_terms_and_stays_empty() -> None:
    assert (terms_of(" "), canonical("\n"), with_references("", {"a": "b"})) == ((), "", "")


@pytest.mark.parametrize("text", EVERY_KIND)
def test_saying_what_a_slider_shows_already_changes_nothing(text: str) -> None:
    for term in terms_of(text):
        assert with_strength(text, term.position, term.strength) == canonical(text)
        for part, factor in term.parts.items():
            assert parse(with_part(text, term.position, part, factor)).references == parse(text).references
            assert terms_of(with_part(text, term.position, part, factor)) == terms_of(text)


@pytest.mark.parametrize("text", EVERY_KIND)
def test_a_changed_strength_is_that_terms_alone(text: str) -> None:
    for term in terms_of(text):
        changed = terms_of(with_strength(text, term.position, 0.35))
        assert changed[term.position].strength == 0.35
        assert [one.text for one in changed] == [one.text for one in terms_of(text)]
        others = [one.strength for one in changed if one.position != term.position]
        assert others == [one.strength for one in terms_of(text) if one.position != term.position]
        assert parse(with_strength(text, term.position, 0.35)).stages == parse(text).stages


def test_no_strength_is_clamped() -> None:
    assert with_strength("a", 0, 17.123456789) == "17.123456789*a"
    assert with_strength("a + b", 1, -1e-7) == "a - 1e-07*b"
    assert with_strength("a + b", 0, -0.0) == "0*a + b"


def test_a_factor_goes_into_a_scope_of_its_own_beside_the_others() -> None:
    assert with_part("0.8*a", 0, "unet.mid", 0.5) == "0.8*a{unet.mid: 0.5}"
    assert with_part("a{unet.up: 2, unet.down: 0.5}", 0, "unet.mid", 0) == (
        "a{unet.down: 0.5, unet.mid: 0, unet.up: 2}"
    )
    assert with_part("a{/attn2/: 1.2}", 0, "te", 0.5) == "a{/attn2/: 1.2}{te: 0.5}"
    assert with_part("a{te: 0.5, else: 0.7}", 0, "te", 0.25) == "a{te: 0.5, else: 0.7}{te: 0.25}"


def test_a_factor_of_one_is_not_said() -> None:
    assert with_part("a{unet.mid: 0.5}", 0, "unet.mid", 1.0) == "a"
    assert with_part("a{unet.mid: 0.5, te: 0}", 0, "te", 1.0) == "a{unet.mid: 0.5}"


def test_a_term_is_added_before_the_stages() -> None:
    assert with_term("a | rank(8) | dtype(fp16)", "lcm:2", 0.9) == "a + 0.9*lcm:2 | rank(8) | dtype(fp16)"
    assert with_term("", "a b", 1.0) == '"a b"'


def test_a_term_is_taken_away_and_the_last_one_leaves_nothing() -> None:
    assert without_term("a - 0.3*b + c", 1) == "a + c"
    assert without_term("-0.3*b + c | rank(2)", 0) == "c | rank(2)"
    assert without_term("a | rank(2)", 0) == ""


def test_another_version_keeps_strength_and_scopes() -> None:
    assert with_reference("0.8*a{te: 0.5} + b", 0, "a:3") == "0.8*a:3{te: 0.5} + b"


def test_references_are_replaced_wherever_they_stand() -> None:
    found = with_references("a + ties(0.5*a, (b | rank(4)))", {"a": "a:3", "b": "b:1"})
    assert found == "a:3 + ties(0.5*a:3, (b:1 | rank(4)))"


def test_a_place_without_a_term_is_refused() -> None:
    with pytest.raises(UnknownTerm, match="has 1 terms, none at position 1"):
        with_strength("a", 1, 0.5)
    with pytest.raises(UnknownTerm):
        without_term("a", -1)


def test_a_text_that_is_no_recipe_is_refused_with_its_place() -> None:
    with pytest.raises(RecipeSyntaxError, match=r"\^"):
        with_strength("0.8*", 0, 0.5)


def test_a_trigger_word_is_put_behind_the_prompt_once() -> None:
    assert with_word("a large red circle", "papercut") == "a large red circle, papercut"
    assert with_word("a circle, Papercut ", "papercut") == "a circle, Papercut "
    assert with_word("a circle, ", "layered paper") == "a circle, layered paper"
    assert with_word("", "papercut") == "papercut"


def test_taking_a_trigger_word_away_leaves_sentences_alone() -> None:
    assert without_word("a papercut of a fox, papercut, snow", "papercut") == "a papercut of a fox, snow"
    assert without_word("papercut", "papercut") == ""
    assert not has_word("a papercut of a fox", "papercut")


@pytest.mark.parametrize("prompt", ["a fox", "a fox, in snow", ""])
def test_taking_away_what_was_put_there_gives_the_prompt_back(prompt: str) -> None:
    assert without_word(with_word(prompt, "layered paper"), "layered paper") == prompt

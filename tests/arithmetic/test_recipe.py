import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import Recipe, RecipeSyntaxError, Stage, Term, parse

references = st.one_of(
    st.text(string.ascii_lowercase + string.digits + "._-", min_size=1),
    st.text(min_size=1).filter(str.strip),
    st.sampled_from(
        ["papercut@production", "lcm-sd15:2", "sha256:ab12cd34", "./a b.safetensors", "007", "1e-3", "a+b"]
    ),
)
terms = st.builds(Term, st.floats(-1e30, 1e30).map(lambda weight: weight + 0.0), references)
recipes = st.builds(
    Recipe,
    st.lists(terms, min_size=1, max_size=5).map(tuple),
    st.sampled_from([(), (Stage("dtype", ("fp16",)),), (Stage("dtype", ("bf16",)),)]),
)


@given(recipes)
def test_parsing_what_was_printed_gives_the_same_recipe(recipe: Recipe) -> None:
    assert parse(str(recipe)) == recipe


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.8*papercut@production + 1.0*lcm-sd15:2 - 0.3*blur", "0.8*papercut@production + lcm-sd15:2 - 0.3*blur"),
        ("-0.3*blur + a", "-0.3*blur + a"),
        ("- a + b", "-a + b"),
        ("(happy - neutral) * 0.6 + face", "0.6*happy - 0.6*neutral + face"),
        ("2*(a - 0.5*(b - c)) + d", "2*a - b + c + d"),
        ("-(a - b)", "-a + b"),
        ("0.1*(3*a)", "0.3*a"),
        ("a + -0.5*b", "a - 0.5*b"),
        ("papercut*0.8 + 0*b", "0.8*papercut + 0*b"),
        ("sd15 + 0.8*papercut + lcm-sd15", "sd15 + 0.8*papercut + lcm-sd15"),
        ("0.5*./x/y.safetensors + 'My file'", '0.5*./x/y.safetensors + "My file"'),
        ("3d-look + 2*1e-3x", "3d-look + 2*1e-3x"),
        ("1e-07*a | dtype(bf16)", "1e-07*a | dtype(bf16)"),
    ],
)
def test_a_recipe_has_one_canonical_text(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "empty"),
        ("a +", 3, "expected"),
        ("a | ", 3, "expected"),
        ("a+b", 1, "space on both sides"),
        ("a -b", 2, "space on both sides"),
        ("a ++ b", 2, "space on both sides"),
        ("a * b", 4, "not two vectors"),
        ("0.5 + a", 0, "number alone"),
        ("a/b", 1, "no division"),
        ("Papercut + a", 0, "lower-case"),
        ("a{unet: 1} + b", 1, "Scopes"),
        ("ties(a, b)", 4, "method"),
        ("a | rank(64)", 4, "no stage 'rank'"),
        ("a | dtype(fp8)", 4, "fp32, fp16, bf16"),
        ("a | dtype()", 4, "got nothing"),
        ("a | dtype(fp16) | dtype(fp32)", 18, "twice"),
        ("(a + b", 6, "not closed"),
        ("a + b)", 5, "closes nothing"),
        ("a b", 2, "Unexpected"),
        ("a # x", 2, "Comments"),
        ("1e999*a", 0, "larger than"),
        ("'' + a", 0, "no name"),
        ('"abc', 0, "quote is not closed"),
        ('"a\\q" + b', 2, "JSON"),
    ],
)
def test_an_error_points_at_its_place(text: str, position: int, words: str) -> None:
    with pytest.raises(RecipeSyntaxError, match=words) as caught:
        parse(text)
    assert caught.value.position == position
    assert str(caught.value).splitlines()[-1] == "  " + " " * caught.value.position + "^"


def test_the_caret_stands_below_the_right_line() -> None:
    with pytest.raises(RecipeSyntaxError) as caught:
        parse("0.5*a +\n0.3*b+c")
    assert str(caught.value).splitlines()[-2:] == ["  0.3*b+c", "       ^"]


def test_locking_replaces_names_and_keeps_weights_and_order() -> None:
    digests = {"a": "sha256:aaaa", "./b c": "sha256:bbbb"}
    locked = parse("0.5*a - './b c' + a | dtype(fp16)").lock(digests.__getitem__)
    assert str(locked) == "0.5*sha256:aaaa - sha256:bbbb + sha256:aaaa | dtype(fp16)"
    assert parse(str(locked)) == locked


def test_the_precision_is_fp32_unless_a_stage_says_otherwise() -> None:
    assert parse("a").dtype == "fp32"
    assert parse("a | dtype(bf16)").dtype == "bf16"

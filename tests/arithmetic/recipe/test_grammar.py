"""What a text says, and where it is wrong."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import RecipeSyntaxError, parse

weights = st.decimals(-1000, 1000, places=3).map(lambda weight: f"{weight:f}")
sums = st.recursive(
    st.sampled_from(["a", "lcm-sd15", "3d-look"]),
    lambda inner: st.lists(st.tuples(st.sampled_from("+-"), weights, inner), min_size=1, max_size=3),
    max_leaves=8,
)


def written(tree: str | list) -> str:
    if isinstance(tree, str):
        return tree
    return "(0*zero" + "".join(f" {sign} {weight}*{written(inner)}" for sign, weight, inner in tree) + ")"


def coefficients(tree: str | list) -> list[tuple[Fraction, str]]:
    if isinstance(tree, str):
        return [(Fraction(1), tree)]
    found = [(Fraction(0), "zero")]
    for sign, weight, inner in tree:
        factor = Fraction(weight) if sign == "+" else -Fraction(weight)
        found += [(factor * coefficient, name) for coefficient, name in coefficients(inner)]
    return found


@given(sums)
def test_parentheses_are_multiplied_out_as_fractions_would_be(tree: str | list) -> None:
    terms = [(term.weight, term.reference) for term in parse(written(tree)).terms]
    assert terms == [(float(coefficient), name) for coefficient, name in coefficients(tree)]


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
    ("text", "canonical"),
    [
        ("(a + b | rank(8)) * 0.5", "0.5*(a + b | rank(8))"),
        ("2*(0.5*(a - b | rank(8)) + c)", "(a - b | rank(8)) + 2*c"),
        ("-((a + (b - c)) | rank(8)|rank(4))", "-(a + b - c | rank(8) | rank(4))"),
        ("a | energy(.99)|error( 1e-2 ) | rank(64.0)", "a | energy(0.99) | error(0.01) | rank(64)"),
    ],
)
def test_a_parenthesis_with_stages_stays_a_group(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ties(0.7*a, 0.5*b; seed=1, density=0.30)", "ties(0.7*a, 0.5*b; density=0.3, seed=1)"),
        ("ties(a,b;density=1)*0.8 + c", "0.8*ties(a, b; density=1) + c"),
        ("-0.5*(ties(a, b) - c)", "-0.5*ties(a, b) + 0.5*c"),
        ("ties(0.5*(a + b), (c | rank(8)))", "ties(0.5*a + 0.5*b, (c | rank(8)))"),
        ("ties(ties(a, b; dialect='peft'), c)", "ties(ties(a, b; dialect=peft), c)"),
        ("extract(lcm-dreamshaper - dreamshaper; rank=64)", "extract(lcm-dreamshaper - dreamshaper; rank=64)"),
        ("on_base(0.8*a; dialect=lycoris)", "on_base(0.8*a; dialect=lycoris)"),
        ("ties + b", "ties + b"),
    ],
)
def test_a_method_is_called_with_sums_and_options(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("a{unet.down:0.5,unet.mid:0}", "a{unet.down: 0.5, unet.mid: 0}"),
        ("a{text_encoder: 2, text_encoder_2: -.5}", "a{te: 2, te2: -0.5}"),
        ("a{unet.down_blocks.1.attentions.0: 2}", "a{unet.down.1.attentions.0: 2}"),
        ("a{else: 0, 'unet.mid_block': 1}", "a{unet.mid: 1, else: 0}"),
        ("a{unet: 2, else: 1}", "a{unet: 2}"),
        ("a{/attn2/: 1.2, /a\\/b/: 0, /\\.\\d+/: 1}", "a{/attn2/: 1.2, /a\\/b/: 0, /\\.\\d+/: 1}"),
        ("a{'my net.x': 2, 'else': 1}", 'a{"my net.x": 2, "else": 1}'),
        ("0.5*(a + b{te: 0}){unet: 2}{te: 3}", "0.5*a{unet: 2}{te: 3} + 0.5*b{te: 0}{unet: 2}{te: 3}"),
        ("ties(a{te: 0}, b){unet: 2}", "ties(a{te: 0}, b){unet: 2}"),
        ("(a | rank(8)){unet: 2} * 3", "3*(a | rank(8)){unet: 2}"),
        (f"a{{lbw:[{'1,' * 11}.5]}}", f"a{{lbw: [{'1, ' * 11}0.5]}}"),
        ("./x.safetensors{unet: 2}", "./x.safetensors{unet: 2}"),
    ],
)
def test_scopes_stand_behind_what_they_are_for(text: str, canonical: str) -> None:
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
        ("(a + b) * ties(c)", 10, "not two vectors"),
        ("0.5 + a", 0, "number alone"),
        ("a/b", 1, "no division"),
        ("Papercut + a", 0, "lower-case"),
        ("a b", 2, "operator"),
        ("./a b.safetensors", 4, "quotes"),
        ("a | rank 4", 9, "parentheses"),
        ("<lora:a:0.8>", 0, "papercut"),
        ("a # x", 2, "Comments"),
        ("1e999*a", 0, "larger than"),
        ("1e20*(1e20*a)", 0, "larger than"),
        ("1e999999999*1e99999999999999999999*a", 0, "larger than"),
        ("a + 1e-400*b", 4, "too small"),
        ("'' + a", 0, "no name"),
        ('"abc', 0, "quote is not closed"),
        ('"a\\q" + b', 2, "JSON"),
        ("(a + b", 6, "parenthesis is not closed"),
        ("a + b)", 5, "closes nothing"),
        ("2(a + b)", 1, "a product is written"),
        (f"{'(' * 60}a{')' * 60}", 51, "More than 50"),
        ("a:1:2", 3, "one version"),
        ("a, b", 1, "arguments of a method"),
        ("a; b", 1, "Options follow"),
        ("a=1", 1, "Options follow"),
        ("a | rnk(64)", 4, "no stage 'rnk' here; the nearest is rank"),
        ("a | blur(64)", 4, "there are: rank, energy, error, dtype"),
        ("a | rank(0)", 4, "rank takes one whole number from 1, got 0"),
        ("a | rank(1.5)", 4, "got 1.5"),
        ("a | rank(1, 2)", 4, "got 1, 2"),
        ("a | rank(x)", 4, "got x"),
        ("a | energy(0)", 4, "above 0 and up to 1, got 0"),
        ("a | energy(1.1)", 4, "got 1.1"),
        ("a | error(1)", 4, "from 0 and below 1, got 1"),
        ("a | error(-0.1)", 4, "got -0.1"),
        ("a | dtype(fp8)", 4, "fp32, fp16, bf16"),
        ("a | dtype()", 4, "got nothing"),
        ("a | dtype(fp16) | dtype(fp32)", 18, "twice"),
        ("(a | dtype(fp16)) + b", 5, "stands at the end"),
        ("tis(a, b)", 0, "no method 'tis' here; the nearest is ties"),
        ("a + xyz(b)", 4, "no method 'xyz' here; there are: "),
        ("ties(a, b | rank(8))", 12, "take parentheses"),
        ("ties()", 0, "1 or more sums, got 0"),
        ("a + extract(x, y; rank=1)", 4, "extract takes one sum, got 2"),
        ("on_base(x)", 0, "needs the option dialect, one of peft, lycoris, comfy"),
        ("ties(a; densty=1)", 8, "no option 'densty' of ties; the nearest is density"),
        ("ties(a; density=x)", 16, "density takes a number .*, got x"),
        ("ties(a; seed=1.5)", 13, "seed takes a whole number .*, got 1.5"),
        ("ties(a; dialect=1)", 16, "dialect takes one of peft, mergekit, mecha, got 1"),
        ("ties(a; density=0)", 16, "density takes a number above 0 and of at most 1, got 0"),
        ("ties(a; seed=-1)", 13, "a whole number of at least 0"),
        ("extract(a - b; rank=0)", 20, "rank takes a whole number of at least 1, got 0"),
        ("project(a)", 0, "project takes 2 sums, got 1"),
        ("peft-linear(a; density=1)", 15, "no option 'density' of peft-linear; there are: none"),
        ("ties(a; seed=1, seed=2)", 16, "twice"),
        ("ties(a, b", 9, "parenthesis is not closed"),
        ("a{unet: 1", 9, "brace is not closed"),
        ("a{lbw: [1, 2", 12, "bracket is not closed"),
        ("0.5{unet: 1}*a", 3, "follows a vector"),
        ("a{unet 1}", 7, "A scope reads"),
        ("a{unet: b}", 8, "A scope reads"),
        ("a{}", 2, "A scope reads"),
        ("a + b{else: 0.5}", 5, "needs a rule"),
        ("a{unet: 1, else: 0, else: 1}", 20, "twice"),
        ("a{unet: [1, 2]}", 8, "a list belongs to lbw"),
        ("a{lbw: 1}", 7, "takes a list"),
        ("a{lbw: [1, 2]}", 7, "12, 17, 20 or 26 numbers, BASE included; got 2"),
        ("a{unet: 1e31}", 8, "larger than"),
        ("a{'': 1}", 2, "selector is empty"),
        ("a{/(/: 1}", 2, "not valid: missing"),
        ("a{/[[a]/: 1}", 2, "Possible nested set"),
        (f"a{{/{'x' * 201}/: 1}}", 2, "201 letters"),
        ("a{/(a+)+b/: 1}", 2, "forever"),
        ("a{/.*a.*b.*c.*d.*e/: 1}", 2, "repeats 5 times"),
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


def test_a_recipe_file_may_have_comments_and_errors_keep_their_line() -> None:
    text = "# acceleration\nlcm-sd15  # at full strength\n  + 0.8*'a # b'\n  + c{/#/: 2}#end"
    assert str(parse(text, comments=True)) == 'lcm-sd15 + 0.8*"a # b" + c{/#/: 2}'
    with pytest.raises(RecipeSyntaxError) as caught:
        parse("# a * b\na * b", comments=True)
    assert str(caught.value).splitlines()[-2:] == ["  a * b", "      ^"]
    with pytest.raises(RecipeSyntaxError, match="expected"):
        parse("# nothing", comments=True)

"""Axes as text, and the numbers of a recipe that they turn."""

import pytest

from arithmetic import parse
from workbench.errors import InvalidAxis
from workbench.grids.axes import Axis
from workbench.grids.dials import dials_of, find_dial, turned, value_at

LONG = (
    "0.8*papercut@production{unet.down: 0.5, else: 2} + ties(0.7*a, 0.5*b; density=0.3) - 0.3*blur "
    "+ 0.5*(a - b | rank(2)) + c{lbw: [1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]} | rank(4)"
)


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("papercut=0:1.2:5", "papercut", (0.0, 0.3, 0.6, 0.9, 1.2)),
        ("papercut=1,-0.5,1e-1", "papercut", (1.0, -0.5, 0.1)),
        ("papercut@production{unet.down}=0:1:3", "papercut@production{unet.down}", (0.0, 0.5, 1.0)),
        ("a{/to=q,k/}=0,1", "a{/to=q,k/}", (0.0, 1.0)),
        ("steps=1:4:4", "steps", (1, 2, 3, 4)),
        ("seed=7", "seed", (7,)),
        ("guidance=1,7.5", "guidance", (1.0, 7.5)),
        ("solver=lcm, tcd", "solver", ("lcm", "tcd")),
        ('prompt="a fox, asleep",a hare :)', "prompt", ("a fox, asleep", "a hare :)")),
        ("prompt=,a hare", "prompt", ("", "a hare")),
        ("recipe=0.5*a + b,ties(a, b; density=0.5)", "recipe", ("0.5*a + b", "ties(a, b; density=0.5)")),
    ],
)
def test_an_axis_is_read_and_its_text_is_read_as_the_same(text: str, name: str, values: tuple[object, ...]) -> None:
    axis = Axis.parse(text)
    assert (axis.name, axis.values) == (name, values)
    assert [type(value) for value in axis.values] == [type(value) for value in values]
    assert Axis.parse(str(axis)) == axis


def test_a_term_of_the_name_of_a_setting_is_written_in_quotes() -> None:
    term, setting = Axis.parse('"steps"=0:1:3'), Axis.parse("steps=1,2,3")
    assert (term.is_term, term.values, term.title) == (True, (0.0, 0.5, 1.0), "steps strength")
    assert (setting.is_term, setting.values, setting.title) == (False, (1, 2, 3), "steps")
    assert Axis.parse(str(term)) == term


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("papercut", "expected NAME=VALUES"),
        ("=1,2", "expected NAME=VALUES"),
        ("papercut=0:1", "is no range"),
        ("papercut=0:1:1", "at least 2 values"),
        ("papercut=0:1:1000", "is no range"),
        ("papercut=0:x:3", "'x' is no number"),
        ("papercut=a,b", "'a' is no number"),
        ("papercut=1,1", "stands there twice"),
        ("papercut=1,inf", "finite number"),
        ("steps=1:2:3", "no whole number"),
        ("solver=lcm,", "a value is empty"),
    ],
)
def test_what_is_no_axis_is_refused_with_what_one_looks_like(text: str, complaint: str) -> None:
    with pytest.raises(InvalidAxis, match=complaint):
        Axis.parse(text)


def test_an_axis_of_texts_takes_texts_and_one_of_numbers_numbers() -> None:
    for name, value in (("solver", 3), ("papercut", "much"), ("seed", True)):
        with pytest.raises(InvalidAxis, match="expected a"):
            Axis(name, (value,))
    with pytest.raises(InvalidAxis, match="0 values"):
        Axis("seed", ())


def test_an_extended_axis_keeps_numbers_in_their_order_and_texts_in_the_order_added() -> None:
    assert Axis("soft", (0.0, 1.0)).extended(0.5, 1.0).values == (0.0, 0.5, 1.0)
    assert Axis("solver", ("tcd", "lcm")).extended("ddim").values == ("tcd", "lcm", "ddim")


def test_every_number_of_a_recipe_has_a_dial_that_turns_it_alone() -> None:
    recipe = parse(LONG)
    dials = dials_of(recipe)
    for name in ("ties", "a", "a#2", "b#2", "(a - b | rank(2))", "papercut@production{else}", "c{lbw[11]}"):
        assert name in dials
    for name, dial in dials.items():
        after = turned(recipe, dial, 9.0)
        assert parse(str(after)) == after
        changed = {other for other, at in dials.items() if value_at(after, at) != value_at(recipe, at)}
        assert changed == {name}
        assert value_at(after, dial) == 9.0
        assert turned(after, dial, value_at(recipe, dial)) == recipe


def test_a_bare_name_means_the_only_term_of_that_model() -> None:
    recipe = parse("0.8*papercut@production{unet.down: 0.5} + lcm:2")
    assert find_dial(recipe, "papercut") == dials_of(recipe)["papercut@production"]
    assert find_dial(recipe, "papercut{unet.down}") == dials_of(recipe)["papercut@production{unet.down}"]
    assert str(turned(recipe, find_dial(recipe, "lcm"), -0.5)).endswith("- 0.5*lcm:2")


def test_a_name_that_means_nothing_or_several_terms_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidAxis, match="did you mean papercut"):
        find_dial(parse("papercut + lcm"), "papercat")
    with pytest.raises(InvalidAxis, match="2 terms are called so"):
        find_dial(parse("a:1 + b + a:2"), "a")

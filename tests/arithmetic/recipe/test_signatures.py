"""What a recipe can call is what there is to call, and it is asked for the same options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arithmetic import Call, MethodRefused, RecipeSyntaxError, parse
from arithmetic.methods import METHODS
from arithmetic.recipe import SIGNATURES
from arithmetic.recipe.text import value_text

OPTIONS = [(name, option) for name, method in METHODS.items() for option in method.options]
VALUES = st.one_of(
    st.integers(-2, 3),
    st.integers(2**63 - 2, 2**63),
    st.floats(-2, 2).map(lambda number: number + 0.0),
    st.booleans(),
    st.sampled_from(["peft", "mecha", "ties", "linear", "nearest"]),
)


def called(name: str, options: str) -> Call:
    """The one call of a recipe that calls `name` with as many arguments as it takes."""
    (term,) = parse(f"{name}({', '.join('ab'[: METHODS[name].arguments[0]])}; {options})").terms
    assert isinstance(term.atom, Call)
    return term.atom


def test_every_method_can_be_called_and_nothing_else_but_extract_and_on_base() -> None:
    assert set(SIGNATURES) == {*METHODS, "extract", "on_base"}


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_takes_its_default(name: str, option: str) -> None:
    default = METHODS[name].options[option].default
    assert called(name, f"{option}={value_text(default)}").options == ((option, default),)


@given(st.sampled_from(OPTIONS), VALUES)
def test_a_recipe_takes_the_values_that_the_method_takes(where: tuple[str, str], value: float | str) -> None:
    name, option = where
    try:
        setting = METHODS[name].settings({option: value})[option]
    except MethodRefused:
        with pytest.raises(RecipeSyntaxError, match=f"{option} takes "):
            called(name, f"{option}={value_text(value)}")
    else:
        (written,) = called(name, f"{option}={value_text(value)}").options
        assert written == (option, setting)
        assert type(written[1]) is type(setting)

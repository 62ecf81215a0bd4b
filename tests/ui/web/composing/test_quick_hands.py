"""What the visitor does while the page is being drawn is not taken back: nothing is assigned that is shown already."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from registry import Registry

OpenPage = Callable[..., AppTest]
BOTH = "0.8*soft:1 + fast:1"


def assigned(app: AppTest) -> set[str]:
    """The keys of the fields that the last run told the browser to overwrite."""
    fields = [*app.slider, *app.text_area, *app.number_input, *app.selectbox]
    return {str(field.key) for field in fields if field.proto.set_value}


def test_what_a_slider_says_is_not_said_back_to_it(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    app.slider(key="strength-0").set_value(0.9).run()
    assert assigned(app) == {"compose-recipe"}


@pytest.mark.parametrize("counted", [0.9500000000000002, 0.30000000000000004])
def test_steps_counted_in_floating_point_are_not_said_back(
    studio: Registry, open_page: OpenPage, counted: float
) -> None:
    app = open_page("compose.py", recipe=BOTH)
    app.slider(key="strength-1").set_value(counted).run()
    assert assigned(app) == {"compose-recipe"}
    assert app.text_area(key="compose-recipe").value == f"0.8*soft:1 + {counted:.2g}*fast:1"


def test_typing_a_recipe_moves_its_sliders_and_nothing_else(studio: Registry, open_page: OpenPage) -> None:
    app = open_page("compose.py", recipe=BOTH)
    app.text_area(key="compose-recipe").set_value("0.7*soft:1 + fast:1").run()
    assert assigned(app) == {"strength-0"}


@pytest.mark.parametrize("page", ["compose.py", "compare.py"])
def test_a_page_drawn_again_assigns_nothing(studio: Registry, open_page: OpenPage, page: str) -> None:
    app = open_page(page, recipe=BOTH, prompt="a cup", seed="3")
    assert assigned(app.run()) == set()

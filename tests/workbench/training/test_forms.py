"""A training as people order it in a form."""

from typing import Any

import pytest

from workbench.errors import InvalidSettings
from workbench.training.forms import order_of

FILLED: dict[str, Any] = {"base": "shapes", "data": "/pictures", "name": "fast"}


def test_what_is_left_empty_is_left_to_the_defaults() -> None:
    assert order_of(FILLED | {"rank": None, "data_license": "", "other": "", "draft": False}) == FILLED | {
        "draft": False
    }


@pytest.mark.parametrize(
    ("field", "value", "ordered"),
    [
        ("guidance", 8.5, {"w": 7.5}),
        ("guidance_min", 3.0, {"w_min": 2.0}),
        ("guidance_max", 15.0, {"w_max": 14.0}),
        ("evaluate_every", 50, {"evaluation": {"every": 50}}),
        ("sample_prompts", "a circle\n\n a square ", {"sample_prompts": ["a circle", "a square"], "sample_every": 10}),
        ("other", "seed = 7\ncaption_noise = {empty = 0.2}", {"seed": 7, "caption_noise": {"empty": 0.2}}),
        ("steps", 20, {"steps": 20}),
    ],
)
def test_a_field_is_the_setting_that_it_stands_for(field: str, value: object, ordered: dict[str, Any]) -> None:
    assert order_of(FILLED | {"sample_every": 10, field: value}) == FILLED | ordered


def test_strips_without_prompts_are_not_asked_for() -> None:
    assert "sample_every" not in order_of(FILLED | {"sample_every": 10, "sample_prompts": " \n"})


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"name": ""}, "name: left empty"),
        ({"other": "seed: 7"}, "expected TOML"),
        ({"other": "steps = 3", "steps": 4}, "steps said twice"),
    ],
)
def test_what_cannot_be_ordered_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidSettings, match=why):
        order_of(FILLED | said)

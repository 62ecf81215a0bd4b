"""A grid as a person orders it on a page."""

import pytest

from registry import Registry
from workbench.errors import InvalidAxis, InvalidSettings, UnsupportedRecipe
from workbench.grids.axes import SETTINGS
from workbench.grids.orders import (
    GridOrder,
    extended_axis,
    missing_cells,
    plan_order,
    proposed_axes,
    seeds_of,
    turnable,
)


def test_strength_against_strength_is_of_the_first_two_vectors(stocked: Registry) -> None:
    assert proposed_axes(stocked, "0.8*soft + fast") == ("soft=0:1.2:4", "fast=0.6:1.2:3")
    assert proposed_axes(stocked, "tiny + soft") == ("soft=0:1.2:4", "")


def test_what_can_be_turned_is_every_number_of_the_recipe_and_the_settings(stocked: Registry) -> None:
    assert turnable(stocked, "") == SETTINGS
    assert turnable(stocked, "tiny + 0.5*soft{unet.mid: 0.5} + fast")[:2] == ("soft", "soft{unet.mid}")


@pytest.mark.parametrize(("text", "seeds"), [("", (0,)), ("7", (7,)), (" 1, 2 2,3", (1, 2, 3))])
def test_seeds_are_whole_numbers(text: str, seeds: tuple[int, ...]) -> None:
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["-1", "a", "1.5", "9" * 11])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="whole numbers"):
        seeds_of(text)


@pytest.mark.parametrize(
    ("axis", "more", "together"),
    [
        ("soft=0:1:3", "0.25", "soft=0,0.25,0.5,1"),
        ("solver=lcm,tcd", "ddim", "solver=lcm,tcd,ddim"),
        ("prompt=a fox", '"a hare, asleep"', 'prompt=a fox,"a hare, asleep"'),
        ('"steps"=0,1', "2", '"steps"=0,1,2'),
    ],
)
def test_an_axis_takes_more_values(axis: str, more: str, together: str) -> None:
    assert extended_axis(axis, more) == together


def test_no_value_is_no_extension() -> None:
    with pytest.raises(InvalidAxis, match="no value is named"):
        extended_axis("soft=0,1", " ")


def test_a_chosen_setting_goes_above_what_the_vectors_want_and_others_stay(stocked: Registry) -> None:
    order = GridOrder("soft + fast", "soft=0,1", prompts=("a fox",), settings={"steps": 9})
    (cell, _) = plan_order(stocked, order).cells
    usual = plan_order(stocked, GridOrder("soft + fast", "soft=0,1", prompts=("a fox",))).cells[0]
    assert (cell.sampling.steps, cell.sampling.solver) == (9, usual.sampling.solver)
    assert cell.key != usual.key


def test_of_a_recipe_axis_the_first_recipe_says_how_it_is_painted(stocked: Registry) -> None:
    order = GridOrder("", "recipe=soft,fast", prompts=("a fox",), settings={"steps": 9})
    plan = plan_order(stocked, order)
    assert [cell.recipe for cell in plan.cells] == ["soft", "fast"]
    assert missing_cells(plan, {}) == 1, "the same file under two names paints the same picture"


@pytest.mark.parametrize(
    "order",
    [
        GridOrder("soft + /etc/passwd", "soft=0,1"),
        GridOrder("soft", "recipe=soft,./elsewhere.safetensors"),
        GridOrder("soft", "soft=0,1", "recipe=~/secret"),
        GridOrder("soft", "soft=0,1", base="/etc"),
    ],
)
def test_a_path_in_an_address_is_refused_whether_it_is_there_or_not(stocked: Registry, order: GridOrder) -> None:
    with pytest.raises(UnsupportedRecipe, match="is a path"):
        plan_order(stocked, order)


def test_nothing_is_proposed_for_a_path(stocked: Registry) -> None:
    for ask in (proposed_axes, turnable):
        with pytest.raises(UnsupportedRecipe, match="is a path"):
            ask(stocked, "/etc/passwd + soft")

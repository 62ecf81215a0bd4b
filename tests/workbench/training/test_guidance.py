"""Guidance in both ways of counting it."""

from workbench.training.guidance import both_ways, guidance_of, in_both_ways


def test_one_w_and_a_range_are_said_with_their_guidance_scales() -> None:
    assert both_ways(7.5) == "7.5 (guidance scale 8.5)"
    assert both_ways([2.0, 14.0]) == "2 to 14 (guidance scale 3 to 15)"


def test_only_what_is_w_is_said_in_both_ways() -> None:
    said = {"w": 4.0, "guidance": [1.0, 2.0], "distilled_w": [2.0, 3.5], "solver": "lcm", "w_min": None}
    assert in_both_ways(said) == {
        "w": "4 (guidance scale 5)",
        "guidance": [1.0, 2.0],
        "distilled_w": "2 to 3.5 (guidance scale 3 to 4.5)",
        "solver": "lcm",
        "w_min": None,
    }
    assert guidance_of({"w_min": 2.0, "steps": 3, "w_max": 4.0}) == (
        "w_min 2 (guidance scale 3), w_max 4 (guidance scale 5)"
    )
    assert guidance_of({"steps": 3}) == ""

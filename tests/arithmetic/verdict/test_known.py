from typing import Any

import pytest

from arithmetic import AlgebraError, Dossier, Known, SamplingProfile


def test_a_profile_is_read_from_what_a_registry_keeps() -> None:
    said = {
        "solver": "lcm",
        "steps": [2, 4],
        "guidance": [1.0, 2],
        "convention": "diffusers",
        "timestep_spacing": "trailing",
        "eta": 0,
        "original_inference_steps": 50,
        "timesteps": [999, 749],
        "distilled_w": 8.0,
    }
    assert SamplingProfile.from_json(said, "lcm:1") == SamplingProfile(
        "lcm", (2, 4), (1.0, 2.0), "diffusers", "trailing", 0.0, 50, (999, 749)
    )


def test_one_number_stands_for_itself() -> None:
    profile = SamplingProfile.from_json({"steps": 4, "guidance": 1.5}, "x")
    assert (profile.steps, profile.guidance) == ((4,), (1.5, 1.5))


def test_what_nobody_says_is_unknown() -> None:
    assert SamplingProfile.from_json({}, "x") == SamplingProfile()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("solver", 3),
        ("steps", "four"),
        ("steps", []),
        ("steps", [2.5]),
        ("steps", [True]),
        ("guidance", "high"),
        ("guidance", [2.0, 1.0]),
        ("guidance", [1.0, 2.0, 3.0]),
        ("guidance", float("nan")),
        ("eta", "none"),
        ("eta", True),
        ("timestep_spacing", []),
    ],
)
def test_a_profile_of_another_kind_is_refused_by_its_key(key: str, value: Any) -> None:
    with pytest.raises(AlgebraError, match=f"papercut:1: sampling profile: {key} is"):
        SamplingProfile.from_json({key: value}, "papercut:1")


def test_accelerations_are_those_with_that_role() -> None:
    known = Known((Dossier("a", "acceleration"), Dossier("b", "style")))
    assert known.accelerations == ("a",)

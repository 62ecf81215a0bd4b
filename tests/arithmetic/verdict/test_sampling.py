import pytest

from arithmetic import Dossier, Known, SamplingProfile, SamplingSettings
from arithmetic.verdict.sampling import sampling_findings

LCM = SamplingProfile("lcm", (2, 4, 8), (1.0, 2.0))


def sentences(known: Known) -> list[str]:
    findings = list(sampling_findings(known))
    assert {(one.code, one.severity) for one in findings} <= {("sampling-constraints", "warning")}
    assert all(one.remedy for one in findings)
    return [one.sentence for one in findings]


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SamplingProfile("tcd"), "solver lcm and tcd"),
        (SamplingProfile(steps=(1, 3)), "2, 4 or 8 steps and 1 or 3"),
        (SamplingProfile(guidance=(5.0, 9.0)), "guidance 1 to 2 and 5 to 9"),
        (SamplingProfile("tcd", guidance=(0.0, 0.0)), "solver lcm and tcd; guidance 1 to 2 and 0"),
    ],
)
def test_profiles_that_no_setting_suits_are_a_warning(other: SamplingProfile, reason: str) -> None:
    known = Known((Dossier("a", profile=LCM), Dossier("b", profile=other)))
    assert sentences(known) == [f"a and b cannot both be sampled as they were made for: {reason}."]


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            SamplingProfile(spacing="trailing"),
            SamplingProfile(spacing="leading"),
            "timestep spacing trailing and leading",
        ),
        (SamplingProfile(eta=0.0), SamplingProfile(eta=0.3), "eta 0 and 0.3"),
        (SamplingProfile(timesteps=(999,)), SamplingProfile(timesteps=(800, 1)), "timesteps 999 and 800, 1"),
        (
            SamplingProfile(convention="w"),
            SamplingProfile(convention="diffusers"),
            "counted as w and diffusers",
        ),
        (
            SamplingProfile(original_inference_steps=50),
            SamplingProfile(original_inference_steps=100),
            "original inference steps 50 and 100",
        ),
    ],
)
def test_every_part_of_a_profile_can_exclude_another(one: SamplingProfile, other: SamplingProfile, reason: str) -> None:
    (sentence,) = sentences(Known((Dossier("a", profile=one), Dossier("b", profile=other))))
    assert reason in sentence


def test_profiles_that_overlap_are_no_finding() -> None:
    other = SamplingProfile("lcm", (4,), (1.5, 3.0))
    assert sentences(Known((Dossier("a", profile=LCM), Dossier("b", profile=other), Dossier("c")))) == []


def test_guidance_that_is_counted_in_two_ways_is_not_compared() -> None:
    other = SamplingProfile(guidance=(0.0, 0.0), convention="w")
    assert sentences(Known((Dossier("a", profile=LCM), Dossier("b", profile=other)))) == []


def test_settings_that_a_vector_was_not_made_for_are_a_warning() -> None:
    known = Known((Dossier("a", profile=LCM), Dossier("b")), settings=SamplingSettings("ddim", 30, 7.5))
    assert sentences(known) == [
        "a is made for solver lcm, not ddim; 2, 4 or 8 steps, not 30; guidance 1 to 2, not 7.5."
    ]


def test_settings_that_it_was_made_for_are_none() -> None:
    known = Known((Dossier("a", profile=LCM),), settings=SamplingSettings("lcm", 4, 1.0))
    assert sentences(known) == []

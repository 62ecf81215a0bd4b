"""What is asked: prompts, noises, and what a prompt states."""

import pytest
from pydantic import ValidationError

from distill_jobs.errors import EvaluationRefused
from distill_jobs.evaluation.exam import draw_exam, read_truths
from distill_jobs.evaluation.settings import EvaluationSettings, measures_of, score_of

HEADS = {"colour": ("red", "blue"), "shape": ("circle", "square")}
CAPTIONS = ("b", "a", "", "c", "a", "d")


def test_captions_are_drawn_by_the_seed_without_the_empty_one_and_in_turn() -> None:
    exams = [draw_exam(EvaluationSettings(every=1, pictures=8, seed=seed), CAPTIONS) for seed in (0, 0, 1)]
    assert exams[0] == exams[1]
    assert sorted(exams[0].prompts) == sorted("abcd" * 2)
    assert exams[0].prompts[:4] == exams[0].prompts[4:]
    assert exams[0].prompts != exams[2].prompts
    assert not set(exams[0].seeds) & set(exams[2].seeds)


def test_given_prompts_are_asked_in_their_order() -> None:
    exam = draw_exam(EvaluationSettings(every=1, pictures=3, prompts=("x", "y")), CAPTIONS)
    assert exam.prompts == ("x", "y", "x")
    assert len(set(exam.seeds)) == 3


def test_a_data_set_of_empty_captions_needs_prompts() -> None:
    with pytest.raises(EvaluationRefused, match="name prompts"):
        draw_exam(EvaluationSettings(every=1), ("", ""))


def test_a_template_reads_what_a_prompt_states() -> None:
    truths = read_truths(["a red square (new)", "a blue circle (new)"], "a {colour} {shape} (new)", HEADS)
    assert truths == ({"colour": "red", "shape": "square"}, {"colour": "blue", "shape": "circle"})


@pytest.mark.parametrize(
    ("prompts", "template", "why"),
    [
        (["a red square", "a green square"], "a {colour} {shape}", "1 of 2 prompts.*a green square"),
        (["a red square"], "a {size} {shape}", "no head 'size'; it has colour, shape"),
        (["a red square"], "a red square", "at least one"),
        (["a red red"], "a {colour} {colour}", "each head once"),
    ],
)
def test_what_a_template_cannot_read_is_refused(prompts: list[str], template: str, why: str) -> None:
    with pytest.raises(EvaluationRefused, match=why):
        read_truths(prompts, template, HEADS)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"often": 2}, "often"),
        ({"pictures": 8}, "every is 0, so nothing is evaluated and pictures would do nothing"),
        ({"every": 2, "solvers": ("lcm",)}, "solvers"),
        ({"every": 2, "best_by": "tcd-1/endpoint_error"}, "expected one of"),
        ({"every": 2, "best_by": "lcm-4/endpoint_error"}, "expected one of"),
        ({"every": 2, "best_by": "lcm-4/sharpness"}, "expected one of"),
        ({"every": 2, "steps": (1, 2)}, "best_by is 'tcd-4/endpoint_error'"),
        ({"every": 2, "export": "best", "keep_best": 0}, "keep at least one"),
    ],
)
def test_settings_that_are_unknown_or_would_do_nothing_are_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EvaluationSettings(**wrong)


def test_every_measure_that_can_rank_is_scored_so_that_lower_is_better() -> None:
    names = measures_of((1, 4))
    assert "student/self_consistency" in names
    assert score_of("lcm-4/judge_accuracy", 0.9) < score_of("lcm-4/judge_accuracy", 0.8)
    assert score_of("tcd-4/endpoint_error", 0.1) < score_of("tcd-4/endpoint_error", 0.2)


def test_it_is_due_as_often_as_asked_and_at_the_end() -> None:
    settings = EvaluationSettings(every=4)
    assert [step for step in range(1, 11) if settings.is_due(step, 10)] == [4, 8, 10]
    assert not any(EvaluationSettings().is_due(step, 10) for step in range(11))

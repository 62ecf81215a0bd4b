"""What was painted tells how long the next pictures take."""

from pathlib import Path

from workbench.painting.paces import FILE, MOST_KEYS, REMEMBERED, foreseen_seconds, learn_pace, pace_key

KEY = pace_key("ab" * 32, "CPU", (512, 768))


def test_nothing_is_foreseen_before_anything_was_painted(tmp_path: Path) -> None:
    assert foreseen_seconds(tmp_path, KEY, 4, 1) is None
    learn_pace(tmp_path, KEY, 4, 1, 2.0)
    assert foreseen_seconds(tmp_path, KEY, 4, 1) == 2.0
    assert foreseen_seconds(tmp_path, pace_key("ab" * 32, "CPU", (512, 512)), 4, 1) is None


def test_pictures_and_evaluations_multiply_it(tmp_path: Path) -> None:
    learn_pace(tmp_path, KEY, 4, 2, 4.0)
    assert [foreseen_seconds(tmp_path, KEY, 4, pictures) for pictures in (1, 3)] == [2.0, 6.0]
    assert foreseen_seconds(tmp_path, KEY, 8, 1) == 4.0


def test_as_many_evaluations_say_more_than_other_numbers(tmp_path: Path) -> None:
    for evaluations, seconds in ((4, 1.0), (8, 1.5), (50, 9.0)):
        learn_pace(tmp_path, KEY, evaluations, 1, seconds)
    assert [foreseen_seconds(tmp_path, KEY, evaluations, 1) for evaluations in (4, 8, 50)] == [1.0, 1.5, 9.0]


def test_one_slow_picture_does_not_count(tmp_path: Path) -> None:
    for seconds in (60.0, 2.0, 2.2):
        learn_pace(tmp_path, KEY, 4, 1, seconds)
    assert foreseen_seconds(tmp_path, KEY, 4, 1) == 2.2


def test_the_newest_count_and_the_oldest_bases_are_forgotten(tmp_path: Path) -> None:
    for seconds in [9.0] * REMEMBERED + [1.0] * REMEMBERED:
        learn_pace(tmp_path, KEY, 4, 1, seconds)
    assert foreseen_seconds(tmp_path, KEY, 4, 1) == 1.0
    (tmp_path / FILE).write_text(str({f"{n}": [[4.0, 1.0]] for n in range(MOST_KEYS)}).replace("'", '"'))
    learn_pace(tmp_path, KEY, 4, 1, 1.0)
    assert foreseen_seconds(tmp_path, "0", 4, 1) is None
    assert foreseen_seconds(tmp_path, "1", 4, 1) == 1.0


def test_a_file_that_is_none_of_ours_says_nothing(tmp_path: Path) -> None:
    for text in ("", "[]", '{"a": 3}', "{"):
        (tmp_path / FILE).write_text(text)
        assert foreseen_seconds(tmp_path, "a", 4, 1) is None
    learn_pace(tmp_path, KEY, 4, 1, 2.0)
    assert foreseen_seconds(tmp_path, KEY, 4, 1) == 2.0

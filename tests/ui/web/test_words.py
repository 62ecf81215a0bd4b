from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry import Kind, Relation, State
from ui.web.words import (
    KIND_COLOURS,
    KIND_ICONS,
    KINDS,
    RELATIONS,
    STATE_COLOURS,
    family_label,
    plain,
    size_label,
    strength_label,
    time_label,
)


def test_every_kind_state_and_relation_of_the_registry_has_its_words() -> None:
    kinds = set(Kind)
    assert set(KINDS) == set(KIND_COLOURS) == set(KIND_ICONS) == kinds
    assert set(STATE_COLOURS) == set(State)
    assert set(RELATIONS) == set(Relation)


def test_artists_read_lora_and_not_vector() -> None:
    assert (KINDS["style"], KINDS["acceleration"]) == ("Style LoRA", "Acceleration LoRA")


@pytest.mark.parametrize(
    "text",
    [
        "[here](javascript:alert(1))",
        "![](http://elsewhere/pixel.png)",
        "<img src=x onerror=alert(1)>",
        "**bold** `code` $x$",
    ],
)
def test_stored_text_keeps_its_marks_but_none_of_them_means_anything(text: str) -> None:
    shown = plain(text)
    marks = [mark for mark in text if not (mark.isalnum() or mark.isspace())]
    assert all(f"\\{mark}" in shown for mark in marks)
    assert shown.replace("\\", "") == text


def test_stored_text_cannot_begin_a_line_of_its_own() -> None:
    assert "\n" not in plain("a title\n\n# a heading\n- a list")


@pytest.mark.parametrize(
    ("size", "label"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_500, "1.5 kB"),
        (12_345_678, "12.3 MB"),
        (4_000_000_000, "4 GB"),
        (10**14, "100 TB"),
    ],
)
def test_sizes_are_read_in_decimal_units(size: int, label: str) -> None:
    assert size_label(size) == label


def test_moments_are_shown_in_utc_whatever_their_zone() -> None:
    noon = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    assert time_label(noon) == "2026-03-01 10:00 UTC"
    assert time_label(datetime(2026, 3, 1, 10, 0)) == time_label(datetime(2026, 3, 1, 10, 0, tzinfo=UTC))


def test_strengths_lose_needless_digits() -> None:
    assert [strength_label(value) for value in (0.8, 1.0, -0.25, 0.30000000000000004)] == ["0.8", "1", "-0.25", "0.3"]


def test_an_imported_bases_family_is_its_own_name() -> None:
    assert (family_label("sd15"), family_label("shapes-base")) == ("SD 1.5", "shapes-base")

from collections.abc import Callable
from pathlib import Path

import pytest

from registry import Refused, Registry

pytestmark = pytest.mark.both_databases

Write = Callable[..., Path]


@pytest.fixture
def library(registry: Registry, write_base: Write, write_vector: Write) -> Registry:
    """Two bases of the family tiny, one of the wider family wide, and vectors of both."""
    registry.add(write_base("tiny"), kind="base")
    registry.add(write_base("tuned", seed=1), kind="base")
    registry.add(write_base("wide", width=16, seed=2), kind="base")
    registry.add(write_vector("papercut", seed=3), kind="style", base="tuned")
    registry.add(write_vector("ink", seed=4), kind="style")
    registry.add(write_vector("broad", seed=5, width=16), kind="acceleration", base="wide")
    return registry


def test_a_base_takes_the_vectors_of_its_family_and_says_what_each_was_made_for(library: Registry) -> None:
    found = {fit.version.ref: (fit.verdict, fit.reasons) for fit in library.fits("tiny")}
    assert found == {
        "ink:1": ("fits", ("all 5 modules are tiny's and every shape fits",)),
        "papercut:1": ("fits", ("all 5 modules are tiny's and every shape fits", "recorded as made for tuned:1")),
    }
    assert [fit.version.ref for fit in library.fits("wide")] == ["broad:1"]


def test_a_vector_fits_every_base_of_its_modules_its_own_first_and_the_others_say_what_is_wrong(
    library: Registry,
) -> None:
    found = [(fit.version.ref, fit.verdict) for fit in library.fits("papercut")]
    assert found == [("tuned:1", "fits"), ("tiny:1", "fits"), ("wide:1", "no")]
    own, _, wide = library.fits("papercut")
    assert own.reasons == ("all 5 modules are tiny's and every shape fits", "recorded as made for tuned:1")
    assert wide.reasons[0] == (
        "0 of 5 modules are wide's: unet.conv_in is [16, 4, 3, 3] there, the vector is for [8, 4, 3, 3]"
    )


def test_the_limit_bounds_what_is_shown(library: Registry) -> None:
    assert len(library.fits("tiny", limit=1)) == 1
    assert [fit.version.ref for fit in library.fits("papercut", limit=1)] == ["tiny:1", "wide:1"]


def test_a_search_narrows_what_fits_a_base(library: Registry) -> None:
    assert [fit.version.ref for fit in library.fits("tiny", text="ink")] == ["ink:1"]
    assert [fit.version.ref for fit in library.fits("tiny", text="paper -ink", limit=1)] == ["papercut:1"]
    assert library.fits("tiny", text="broad") == ()


def test_what_is_neither_a_base_nor_a_vector_fits_nothing(library: Registry, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("x")
    library.add(tmp_path / "note.txt", kind="other")
    with pytest.raises(Refused, match="note:1: neither a base nor a vector"):
        library.fits("note")

"""What was measured of vectors: kept as bytes, in the place of what was there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from registry import NotFound, Registry
from registry.tables import MeasureRow

pytestmark = pytest.mark.both_databases


@pytest.fixture
def papercut(registry: Registry, write_vector: Callable[..., Path]) -> Registry:
    registry.add(write_vector(seed=1), kind="style", name="papercut")
    return registry


def rows(registry: Registry) -> list[tuple[bool, float | None, bytes]]:
    with registry.database.reading() as uow:
        return [(row.is_finite, row.largest_norm, row.content) for row in uow.session.scalars(select(MeasureRow))]


def test_what_was_recorded_is_found_by_version_and_by_reference(papercut: Registry) -> None:
    version = papercut.get("papercut")
    assert papercut.measurements.of(version) is None
    papercut.measurements.record(version, b"\0\xff measured", largest_norm=2.5, is_finite=True)
    assert papercut.measurements.of(version) == b"\0\xff measured"
    assert papercut.measurements.of("papercut:1") == b"\0\xff measured"
    assert rows(papercut) == [(True, 2.5, b"\0\xff measured")]


def test_measuring_again_takes_the_place_of_what_was_recorded(papercut: Registry) -> None:
    papercut.measurements.record("papercut", b"old", largest_norm=2.5, is_finite=True)
    papercut.measurements.record("papercut", b"new", largest_norm=None, is_finite=False)
    assert rows(papercut) == [(False, None, b"new")]


def test_recording_is_no_event(papercut: Registry) -> None:
    before = papercut.history()
    papercut.measurements.record("papercut", b"x", largest_norm=1.0, is_finite=True)
    assert papercut.history() == before


def test_what_is_not_finite_has_no_norm(papercut: Registry) -> None:
    with pytest.raises(IntegrityError, match="has_a_norm_where_it_is_finite"):
        papercut.measurements.record("papercut", b"x", largest_norm=1.0, is_finite=False)


def test_a_version_that_is_not_there_has_no_measures(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.measurements.of("nobody")

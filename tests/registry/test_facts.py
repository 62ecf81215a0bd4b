"""What identification recorded, by the identifier of today and by the first one."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update

from registry import Registry
from registry.comparison import differences
from registry.facts import IDENTIFIER
from registry.tables import AdapterFactsRow

Write = Callable[..., Path]

ADDED = ("kind", "variant", "prediction_type", "broken")
"""What the first identifier did not say."""


def record_as_the_first_did(registry: Registry, version: int) -> None:
    """Make the facts of a version what release 1 wrote."""
    with registry.database.writing() as uow:
        row = uow.session.get_one(AdapterFactsRow, version)
        assert row.identifier == IDENTIFIER != "1"
        said = {key: value for key, value in row.identification.items() if key not in ADDED}
        hashes = {key: value for key, value in (said["hashes"] or {}).items() if key != "short"}
        values = {"identifier": "1", "identification": {**said, "hashes": hashes or None}, "layout_hash": None}
        values |= {"prediction_type": None, "confidence": 0.0}
        uow.session.execute(update(AdapterFactsRow).where(AdapterFactsRow.version_id == version).values(values))
        uow.commit()


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_facts_of_the_first_identifier_are_read_searched_compared_and_fitted_like_any_other(
    registry: Registry, write_vector: Write
) -> None:
    old = registry.add(write_vector("papercut"), kind="style")
    new = registry.add(write_vector("ink", seed=1), kind="style")
    record_as_the_first_did(registry, old.id)
    read = registry.get("papercut:1")
    assert read.facts is not None
    assert not read.facts.keys() & set(ADDED)
    assert (read.family, read.facts["rank"], read.facts["layout"]["value"]) == ("tiny", 2, "kohya")
    assert {one.ref for one in registry.search(family="tiny", kind="style")} == {"papercut:1", "ink:1"}
    assert [(fit.version.ref, fit.verdict) for fit in registry.fits("papercut")] == [("tiny:1", "fits")]
    assert {fit.version.ref: fit.verdict for fit in registry.fits("tiny")} == {"papercut:1": "fits", "ink:1": "fits"}
    assert {one.field for one in differences(read, new)} >= {"title"}
    assert registry.file(read).is_file()


@pytest.mark.both_databases
@pytest.mark.usefixtures("base")
def test_importing_again_what_the_first_identifier_described_says_what_is_known_now(
    registry: Registry, write_vector: Write
) -> None:
    version = registry.add(write_vector("papercut"), kind="style")
    record_as_the_first_did(registry, version.id)
    assert registry.add(write_vector("papercut"), kind="style").ref == "papercut:1"
    assert registry.get("papercut:1").facts == version.facts
    with registry.database.reading() as uow:
        row = uow.session.get_one(AdapterFactsRow, version.id)
        assert (row.identifier, row.layout_hash is None) == (IDENTIFIER, False)
    (event,) = [event for event in registry.history("papercut") if event.action == "identified"]
    assert event.before is not None
    assert event.before["identifier"] == "1"

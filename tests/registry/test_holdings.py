"""What a registry holds, and who works with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import insert

from registry import Registry
from registry.holdings import holdings, people
from registry.tables import PrincipalRow

pytestmark = pytest.mark.both_databases


def test_an_empty_registry_holds_nothing(registry: Registry) -> None:
    held = holdings(registry.database)
    assert (held.models, held.versions, held.blobs, held.bytes, held.kinds, held.places) == (0, 0, 0, 0, {}, {})


def test_everything_is_counted_and_shared_bytes_once(registry: Registry, tmp_path: Path) -> None:
    content = tmp_path / "one.bin"
    content.write_bytes(b"12345")
    registry.put_blob(content)
    held = holdings(registry.database)
    assert (held.blobs, held.bytes) == (1, 5)
    registry.put_blob(content)
    assert holdings(registry.database) == held


def test_people_are_those_in_the_list_and_those_who_did_something(
    registry: Registry, write_vector: Callable[..., Path]
) -> None:
    registry.add(write_vector("papercut"), kind="style", name="papercut")
    registry.favourite("papercut", principal="berta")
    with registry.database.writing() as uow:
        uow.session.execute(insert(PrincipalRow).values(name="carla", role="viewer"))
        uow.commit()
    found = {person.name: person for person in people(registry.database)}
    assert set(found) == {registry.database.actor, "berta", "carla"}
    assert found[registry.database.actor].events > 0
    assert (found["berta"].favourites, found["berta"].events) == (1, 0)
    assert (found["carla"].role, found["carla"].last_seen) == ("viewer", None)
    assert len(people(registry.database, limit=1)) == 1

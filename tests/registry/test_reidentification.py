"""A vector that arrives before its base is identified when the base comes, as if it had come after it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from registry import Registry
from registry.recorded_facts import CORRECTED
from registry.reidentification import identified_since, identify_again, last_event
from registry.tables import AdapterFactsRow, ArchitectureRow

Write = Callable[..., Path]
pytestmark = pytest.mark.both_databases


def facts_of(registry: Registry, ref: str) -> dict[str, Any]:
    """Everything that is recorded of what a version is."""
    with registry.database.reading() as uow:
        row = uow.session.get_one(AdapterFactsRow, registry.get(ref).id)
        return {name: getattr(row, name) for name in CORRECTED}


def forget_the_base(registry: Registry, ref: str) -> None:
    """Make a vector what it was before its base came."""
    with registry.database.writing() as uow:
        row = uow.session.get_one(AdapterFactsRow, registry.get(ref).id)
        said = {**row.identification, "family": {"value": "unknown", "confidence": 0.0, "evidence": []}}
        mine = update(AdapterFactsRow).where(AdapterFactsRow.version_id == row.version_id)
        uow.session.execute(mine.values(family="unknown", identification=said, layout_hash=None, architecture=None))
        uow.commit()


@pytest.fixture
def peft(tmp_path: Path, write_vector: Write) -> Path:
    """The folder of an adapter as diffusers saves one, of two files."""
    folder = tmp_path / "files" / "peft"
    folder.mkdir(parents=True)
    write_vector("other", seed=7).rename(folder / "pytorch_lora_weights.safetensors")
    (folder / "README.md").write_text("a card")
    return folder


@pytest.mark.parametrize("in_place", [False, True])
def test_both_orders_of_import_give_the_same_facts_and_then_they_fit(
    registry: Registry, write_base: Write, write_vector: Write, peft: Path, in_place: bool
) -> None:
    vector, base = write_vector(metadata={"ss_network_alpha": "1"}), write_base()
    for path in (vector, peft):
        early = registry.add(path, kind="style", name=f"early-{path.stem}", in_place=in_place)
        assert early.family == "unknown"
    registry.add(base, kind="base", in_place=in_place)
    for path in (vector, peft):
        registry.add(path, kind="style", name=f"late-{path.stem}", in_place=in_place)
        early_facts = facts_of(registry, f"early-{path.stem}")
        assert early_facts == facts_of(registry, f"late-{path.stem}")
        assert (early_facts["family"], early_facts["architecture"]) == ("tiny", "tiny")
        assert early_facts["layout_hash"] is not None
    names = {"early-papercut:1", "late-papercut:1", "early-peft:1", "late-peft:1"}
    assert {fit.version.ref for fit in registry.fits("tiny")} == names
    assert {version.ref for version in registry.search(family="tiny", kind="style")} == names


def test_vectors_in_a_bucket_are_identified_too(keeper: Registry, write_base: Write, write_vector: Write) -> None:
    keeper.add(write_vector(), kind="style", name="early")
    keeper.add(write_base(), kind="base")
    keeper.add(write_vector(), kind="style", name="late")
    assert facts_of(keeper, "early") == facts_of(keeper, "late")
    assert [path for path in keeper.store.staging.folder.iterdir() if path.is_dir()] == []


def test_history_says_what_was_known_before_and_what_after(
    registry: Registry, write_base: Write, write_vector: Write
) -> None:
    registry.add(write_vector(), kind="style")
    seen = last_event(registry.database)
    registry.add(write_base(), kind="base")
    assert identified_since(registry.database, seen) == ("papercut:1",)
    (event,) = [event for event in registry.history("papercut") if event.action == "identified"]
    assert event.before is not None
    assert event.after is not None
    assert (event.before["family"], event.after["family"]) == ("unknown", "tiny")
    assert event.before.keys() == event.after.keys() >= {"architecture", "layout_hash", "confidence"}


def test_what_another_base_explains_stays_unknown_without_an_event(
    registry: Registry, write_base: Write, write_vector: Write
) -> None:
    registry.add(write_vector("broad", width=16), kind="style")
    registry.add(write_base(), kind="base")
    assert registry.get("broad").family == "unknown"
    assert [event.action for event in registry.history("broad")].count("identified") == 0


def test_a_look_that_was_broken_off_goes_on_when_the_base_is_imported_again(
    registry: Registry, write_base: Write, write_vector: Write
) -> None:
    registry.add(write_base(), kind="base")
    registry.add(write_vector(), kind="style")
    whole = facts_of(registry, "papercut")
    forget_the_base(registry, "papercut")
    registry.add(write_base(), kind="base")
    assert facts_of(registry, "papercut") == whole
    seen = last_event(registry.database)
    assert identify_again(registry.database, registry.store, registry.architectures()).identified == ()
    assert last_event(registry.database) == seen


def test_importing_a_vector_again_refreshes_facts_that_are_unknown(
    registry: Registry, write_base: Write, write_vector: Write
) -> None:
    registry.add(write_base(), kind="base")
    registry.add(write_vector(), kind="style")
    whole = facts_of(registry, "papercut")
    forget_the_base(registry, "papercut")
    registry.add(write_vector(), kind="style")
    assert facts_of(registry, "papercut") == whole


def test_one_whose_bytes_are_gone_is_named_and_keeps_nobody_else_waiting(
    registry: Registry, write_base: Write, write_vector: Write, caplog: pytest.LogCaptureFixture
) -> None:
    lost = registry.add(write_vector("lost", seed=1), kind="style")
    registry.add(write_vector("kept", seed=2), kind="style")
    registry.store.remove([lost.artifacts[0].sha256])
    registry.add(write_base(), kind="base")
    assert (registry.get("lost").family, registry.get("kept").family) == ("unknown", "tiny")
    assert [record.args[0] for record in caplog.records if record.args] == ["lost:1"]
    look = identify_again(registry.database, registry.store, registry.architectures())
    assert [ref for ref, _ in look.left] == ["lost:1"]


def test_a_base_whose_facts_were_never_recorded_gets_them_with_its_module_table(
    registry: Registry, write_base: Write
) -> None:
    base = registry.add(write_base(), kind="base", draft=True)
    with registry.database.writing() as uow:
        uow.session.execute(delete(AdapterFactsRow))
        uow.session.execute(delete(ArchitectureRow))
        uow.commit()
    registry.add(write_base(), kind="base", draft=True)
    assert facts_of(registry, base.ref)["family"] == "tiny"
    with registry.database.reading() as uow:
        assert list(uow.session.scalars(select(ArchitectureRow.name))) == ["tiny"]

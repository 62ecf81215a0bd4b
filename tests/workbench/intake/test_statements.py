"""What is known beside the bytes counts before it is decided whether a version is published."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from registry import InvalidName, Registry
from registry.lookups import Lookups, Offer, Statement
from workbench.intake.hub import import_hub
from workbench.intake.importing import import_file
from workbench.intake.invokeai import import_invokeai
from workbench.intake.library import import_folder
from workbench.intake.sources import take_in

Lora = Callable[..., bytes]
SELLING = {
    "id": 5,
    "modelId": 7,
    "name": "v1",
    "trainedWords": ["soft"],
    "model": {"name": "Soft", "allowCommercialUse": ["Image", "Rent", "Sell"], "allowDerivatives": True},
}


@pytest.fixture
def guarded(based: Registry) -> Registry:
    """A registry whose base may not be used commercially."""
    based.edit("tiny", changes={"license": "cc-by-nc-4.0"})
    return based


@pytest.fixture
def selling(vector_file: Path) -> Path:
    """A vector whose Civitai record allows to sell it."""
    vector_file.with_suffix(".civitai.info").write_text(json.dumps(SELLING))
    return vector_file


def invokeai(root: Path, content: bytes) -> Path:
    """An installation with one vector, about which it has a description."""
    config = {"type": "lora", "name": "Soft", "path": "soft.safetensors", "description": "soft shadows"}
    (root / "models").mkdir(parents=True)
    (root / "databases").mkdir()
    (root / "models" / "soft.safetensors").write_bytes(content)
    with closing(sqlite3.connect(root / "databases" / "invokeai.db")) as database, database:
        database.execute("CREATE TABLE models (id TEXT PRIMARY KEY, config TEXT)")
        database.execute("INSERT INTO models VALUES ('key', ?)", [json.dumps(config)])
    return root


def actions(registry: Registry, model: str) -> list[str]:
    """What happened to a model and its versions, in order."""
    return [event.action for event in registry.history(model)]


def test_a_sidecar_that_contradicts_the_base_holds_the_version_back(guarded: Registry, selling: Path) -> None:
    take_in(guarded, str(selling), base="tiny:1")
    version = guarded.get("soft:1")
    assert (version.state, version.license_flags["allowCommercialUse"]) == ("draft", ["Image", "Rent", "Sell"])
    assert guarded.license_report("soft:1").conflicts
    assert actions(guarded, "soft")[-1] == "held"


def test_a_card_that_contradicts_the_base_holds_the_version_back(
    guarded: Registry, hub: Any, tmp_path: Path, lora: Lora
) -> None:
    hub.cards["a/soft"] = {"license": "mit"}
    hub.push("a/soft", {"soft.safetensors": lora()})
    version = import_hub(guarded, "hf://a/soft", base="tiny:1", endpoint=hub.url, cache=tmp_path / "cache")
    assert (version.state, version.license) == ("draft", "mit")
    assert guarded.license_report(version.ref).conflicts


def test_what_does_not_contradict_the_base_is_published(based: Registry, selling: Path) -> None:
    take_in(based, str(selling), base="tiny:1")
    assert based.get("soft").state == "published"


@pytest.mark.parametrize("source", ["file", "folder", "invokeai", "hub"])
def test_whatever_is_imported_is_published_after_what_is_said_of_it_was_kept(
    based: Registry, selling: Path, source: str, hub: Any, tmp_path: Path, lora: Lora
) -> None:
    if source == "file":
        take_in(based, str(selling))
    elif source == "folder":
        import_folder(based, selling.parent)
    elif source == "invokeai":
        import_invokeai(based, invokeai(tmp_path / "invoke", lora(3)))
    else:
        hub.cards["a/soft"] = {"license": "mit"}
        hub.push("a/soft", {"soft.safetensors": lora()})
        import_hub(based, "hf://a/soft", endpoint=hub.url, cache=tmp_path / "cache")
    seen = actions(based, "soft")
    assert max(at for at, action in enumerate(seen) if action == "filled in") < seen.index("published")


def test_a_statement_that_cannot_be_kept_leaves_no_version_at_all(based: Registry, vector_file: Path) -> None:
    said = Statement("x" * 33, "somewhere", {}, Offer(license="mit"))
    with pytest.raises(InvalidName, match="1 to 32"):
        import_file(based, vector_file, statements=[said])
    assert based.search(kind="style") == []


@pytest.mark.parametrize("conflicting", [True, False])
def test_a_draft_that_was_left_is_completed_and_judged_by_the_next_import(
    guarded: Registry, selling: Path, conflicting: bool
) -> None:
    import_file(guarded, selling, base="tiny:1" if conflicting else None, draft=True)
    take_in(guarded, str(selling))
    version = guarded.get("soft:1")
    assert (version.state, version.title) == ("draft" if conflicting else "published", "Soft - v1")


def test_a_statement_about_other_bytes_is_kept_and_said_to_be_left_on_every_path(
    guarded: Registry, selling: Path
) -> None:
    files = [{"hashes": {"SHA256": "0" * 64}}]
    selling.with_suffix(".civitai.info").write_text(json.dumps({**SELLING, "files": files}))
    single = take_in(guarded, str(selling), base="tiny:1")
    again = import_folder(guarded, selling.parent)
    assert guarded.get("soft:1").state == "published"
    assert [one.verdict for one in Lookups(guarded.database).of("soft:1")] == ["unlinked"]
    assert "other bytes" in single.left[0].reason
    assert again.left == () or "other bytes" in again.left[0].reason

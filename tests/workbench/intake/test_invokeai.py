"""Importing what an InvokeAI installation knows, from a database with its real tables."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from PIL import Image

from registry import Registry
from registry.lookups import Lookups
from workbench.errors import NotImportable
from workbench.intake.invokeai import find_invokeai, import_invokeai

Lora = Callable[..., bytes]

# InvokeAI's models table since its migration 22 (before: UNIQUE(name, base, type) and no file_size).
MODELS = """
    CREATE TABLE models (
        id TEXT NOT NULL PRIMARY KEY,
        hash TEXT GENERATED ALWAYS as (json_extract(config, '$.hash')) VIRTUAL NOT NULL,
        base TEXT GENERATED ALWAYS as (json_extract(config, '$.base')) VIRTUAL NOT NULL,
        type TEXT GENERATED ALWAYS as (json_extract(config, '$.type')) VIRTUAL NOT NULL,
        path TEXT GENERATED ALWAYS as (json_extract(config, '$.path')) VIRTUAL NOT NULL,
        format TEXT GENERATED ALWAYS as (json_extract(config, '$.format')) VIRTUAL NOT NULL,
        name TEXT GENERATED ALWAYS as (json_extract(config, '$.name')) VIRTUAL NOT NULL,
        description TEXT GENERATED ALWAYS as (json_extract(config, '$.description')) VIRTUAL,
        source TEXT GENERATED ALWAYS as (json_extract(config, '$.source')) VIRTUAL NOT NULL,
        source_type TEXT GENERATED ALWAYS as (json_extract(config, '$.source_type')) VIRTUAL NOT NULL,
        source_api_response TEXT GENERATED ALWAYS as (json_extract(config, '$.source_api_response')) VIRTUAL,
        trigger_phrases TEXT GENERATED ALWAYS as (json_extract(config, '$.trigger_phrases')) VIRTUAL,
        file_size INTEGER GENERATED ALWAYS as (json_extract(config, '$.file_size')) VIRTUAL NOT NULL,
        config TEXT NOT NULL,
        created_at DATETIME NOT NULL DEFAULT(STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')),
        updated_at DATETIME NOT NULL DEFAULT(STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')),
        UNIQUE(path)
    )
"""
# The table of InvokeAI 3 since its migration 3.
MODEL_CONFIG = """
    CREATE TABLE model_config (
        id TEXT NOT NULL PRIMARY KEY,
        base TEXT GENERATED ALWAYS as (json_extract(config, '$.base')) VIRTUAL NOT NULL,
        type TEXT GENERATED ALWAYS as (json_extract(config, '$.type')) VIRTUAL NOT NULL,
        name TEXT GENERATED ALWAYS as (json_extract(config, '$.name')) VIRTUAL NOT NULL,
        path TEXT GENERATED ALWAYS as (json_extract(config, '$.path')) VIRTUAL NOT NULL,
        format TEXT GENERATED ALWAYS as (json_extract(config, '$.format')) VIRTUAL NOT NULL,
        original_hash TEXT,
        config TEXT NOT NULL,
        created_at DATETIME NOT NULL DEFAULT(STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')),
        updated_at DATETIME NOT NULL DEFAULT(STRFTIME('%Y-%m-%d %H:%M:%f', 'NOW')),
        UNIQUE(name, base, type)
    )
"""


class Installation:
    """The folder of an InvokeAI installation, and what its database says."""

    def __init__(self, root: Path, table: str = MODELS) -> None:
        self.root = root
        self.database = root / "databases" / "invokeai.db"
        self.database.parent.mkdir(parents=True)
        self._table = "model_config" if table is MODEL_CONFIG else "models"
        self._run(table)

    def add(self, key: str, path: str, content: bytes | None, **config: Any) -> Path:
        """Install a file, and the record of it."""
        place = Path(path) if Path(path).is_absolute() else self.root / "models" / path
        if content is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        said = {
            "key": key,
            "hash": f"blake3:{blake3(content or b'').hexdigest()}",
            "base": "sd-1",
            "type": "lora",
            "format": "lycoris",
            "name": key,
            "path": path,
            "file_size": len(content or b""),
            "source": path,
            "source_type": "path",
            **config,
        }
        self._run(f"INSERT INTO {self._table} (id, config) VALUES (?, ?)", key, json.dumps(said))
        return place

    def update(self, key: str, **changes: Any) -> None:
        """Change a record."""
        for name, value in changes.items():
            self._run(
                "UPDATE models SET config = json_set(config, ?, json(?)) WHERE id = ?",
                f"$.{name}",
                json.dumps(value),
                key,
            )

    def _run(self, statement: str, *values: object) -> None:
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(statement, values)


@pytest.fixture
def invokeai(tmp_path: Path) -> Installation:
    """An installation without a model."""
    return Installation(tmp_path / "invokeai")


def test_a_vector_comes_with_what_its_users_wrote_about_it(based: Registry, invokeai: Installation, lora: Lora) -> None:
    config = {
        "name": "Paper Cut",
        "description": "for posters",
        "trigger_phrases": ["papercut", "layered, white"],
        "default_settings": {"weight": 0.7, "weight_min": 0.2, "weight_max": 1.1},
        "source": "https://civitai.com/api/download/models/1",
        "source_type": "url",
    }
    place = invokeai.add("0c1d-uuid", "0c1d-uuid/papercut.safetensors", lora(1), **config)
    (place.parents[1] / "model_images").mkdir()
    Image.new("RGB", (8, 8), "red").save(place.parents[1] / "model_images" / "0c1d-uuid.webp")
    report = import_invokeai(based, invokeai.root)
    assert ([one.version for one in report.imported], report.left) == (["paper-cut:1"], ())
    version = based.get("paper-cut")
    assert (version.title, version.description) == ("Paper Cut", "for posters")
    assert (version.trigger_words, version.recommended_strength) == (("papercut", "layered", "white"), 0.7)
    assert version.origin is not None
    assert (version.origin.kind, version.origin.uri) == ("invokeai", "invokeai:0c1d-uuid")
    (said,) = Lookups(based.database).of("paper-cut")
    assert (said.service, said.document["source"]) == ("invokeai", config["source"])
    assert {"recommended_low", "recommended_high"} <= set(said.filled)
    assert len(based.previews("paper-cut")) == 1


def test_bases_vectors_and_two_models_of_one_name_are_all_there(
    registry: Registry, invokeai: Installation, base_folder: Path, lora: Lora
) -> None:
    shutil.copytree(base_folder, invokeai.root / "models" / "a-base")
    invokeai.add("a-base", "a-base", None, type="main", format="diffusers", name="Tiny", hash="blake3:of-a-folder")
    invokeai.add("b-one", "b/ink.safetensors", lora(1), name="Ink")
    invokeai.add("c-two", str(invokeai.root.parent / "elsewhere" / "ink.safetensors"), lora(2), name="Ink")
    report = import_invokeai(registry, invokeai.root)
    assert [one.version for one in report.imported] == ["tiny:1", "ink:1", "elsewhere-ink:1"]
    assert report.left == ()
    assert registry.get("tiny").kind == "base"


def test_looking_again_reads_no_file_but_hears_what_was_written_since(
    based: Registry, invokeai: Installation, lora: Lora
) -> None:
    place = invokeai.add("ink", "ink.safetensors", lora(1))
    import_invokeai(based, invokeai.root)
    status = place.stat()
    with place.open("r+b") as file:
        file.write(bytes(status.st_size))
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
    invokeai.update("ink", description="written later")
    report = import_invokeai(based, invokeai.root)
    assert (report.imported, report.unchanged) == ((), 1)
    assert based.get("ink").description == "written later"


def test_a_model_whose_file_changed_is_the_next_version_of_the_same_model(
    based: Registry, invokeai: Installation, lora: Lora
) -> None:
    place = invokeai.add("ink", "ink.safetensors", lora(1))
    import_invokeai(based, invokeai.root)
    place.write_bytes(lora(2))
    report = import_invokeai(based, invokeai.root)
    assert [one.version for one in report.imported] == ["ink:2"]
    assert "changed since InvokeAI installed it" in report.left[0].reason


def test_what_is_not_cataloged_or_not_there_is_named_and_the_rest_goes_on(
    based: Registry, invokeai: Installation, lora: Lora
) -> None:
    invokeai.add("a-vae", "vae.safetensors", b"x", type="vae", name="A VAE")
    invokeai.add("b-gone", "gone.safetensors", None)
    invokeai.add("c-bad", "bad.safetensors", b"not weights")
    invokeai.add("d-out", "../../../etc/passwd.safetensors", None)
    invokeai.add("e-good", "good.safetensors", lora(1))
    report = import_invokeai(based, invokeai.root)
    assert [one.version for one in report.imported] == ["e-good:1"]
    why = [one.reason for one in report.left]
    assert [text.split()[0] for text in why] == ["A", "cannot", "d-out:", "not"]
    assert "type vae" in why[0]
    assert "leads out of the installation" in why[2]


def test_the_database_of_version_3_is_understood_too(based: Registry, tmp_path: Path, lora: Lora) -> None:
    old = Installation(tmp_path / "old", MODEL_CONFIG)
    path = old.root / "autoimport" / "ink.safetensors"
    path.parent.mkdir()
    path.write_bytes(lora(1))
    old.add("ink", "autoimport/ink.safetensors", None, hash="")
    assert [one.version for one in import_invokeai(based, old.root).imported] == ["ink:1"]


def test_the_database_is_only_read(based: Registry, invokeai: Installation, lora: Lora) -> None:
    invokeai.add("ink", "ink.safetensors", lora(1))
    before = invokeai.database.read_bytes()
    invokeai.database.chmod(0o444)
    import_invokeai(based, invokeai.database)
    assert invokeai.database.read_bytes() == before


def test_a_dry_run_and_a_cancelled_run_register_nothing(based: Registry, invokeai: Installation, lora: Lora) -> None:
    place = invokeai.add("ink", "ink.safetensors", lora(1))
    dry = import_invokeai(based, invokeai.root, dry_run=True)
    assert [(one.path, one.version) for one in dry.imported] == [(str(place), "")]
    assert import_invokeai(based, invokeai.root, cancelled=lambda: True).is_cancelled
    assert based.search(kind="style") == []


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0 but broken", b"no database at all"])
def test_what_is_no_database_of_invokeais_is_refused(based: Registry, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "invokeai.db"
    path.write_bytes(content)
    with pytest.raises(NotImportable, match=r"invokeai\.db"):
        import_invokeai(based, path)


def test_another_programs_database_is_refused(based: Registry) -> None:
    database = based.home / "registry.db"
    assert find_invokeai(database) == database
    with pytest.raises(NotImportable, match="no table models or model_config"):
        import_invokeai(based, database)


@pytest.mark.parametrize("config", ["[1]", '{"name": ' + "[" * 3_000 + "]" * 3_000 + "}"])
def test_a_record_that_is_no_document_names_the_model(based: Registry, tmp_path: Path, config: str) -> None:
    with closing(sqlite3.connect(tmp_path / "invokeai.db")) as connection, connection:
        connection.execute("CREATE TABLE models (id TEXT, config TEXT)")
        connection.execute("INSERT INTO models VALUES ('k7', ?)", (config,))
    with pytest.raises(NotImportable, match="model k7"):
        import_invokeai(based, tmp_path / "invokeai.db")

"""What a text names, and what may be said about it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from formats import FormatError
from registry import Registry, RegistryError
from workbench.errors import InvalidSettings, NotImportable, UnknownPath, WorkbenchError
from workbench.intake.sources import take_in

Lora = Callable[..., bytes]


def test_a_file_is_one_model_with_what_lies_beside_it(based: Registry, vector_file: Path) -> None:
    vector_file.with_suffix(".json").write_text('{"activation text": "soft"}')
    report = take_in(based, str(vector_file), license="mit")
    assert (report.is_of_one, [one.version for one in report.imported]) == (True, ["soft:1"])
    assert (based.get("soft").trigger_words, based.get("soft").license) == (("soft",), "mit")
    assert not take_in(based, str(vector_file)).imported[0].is_new


def test_a_base_folder_is_one_model_and_a_folder_of_files_a_library(
    registry: Registry, base_folder: Path, vector_file: Path
) -> None:
    assert take_in(registry, str(base_folder)).is_of_one
    report = take_in(registry, str(vector_file.parent))
    assert (report.is_of_one, report.unchanged) == (False, 1)
    assert [one.version for one in report.imported] == ["soft:1"]


def test_a_home_is_expanded(based: Registry, vector_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(vector_file.parent))
    assert take_in(based, "~/soft.safetensors").imported[0].version == "soft:1"


@pytest.mark.parametrize(
    ("source", "words", "option"),
    [
        ("{file}", {"update": True}, "--update"),
        ("{file}", {"sha256": "0" * 64}, "--sha256"),
        ("{file}", {"dry_run": True}, "--dry-run"),
        ("{folder}", {"name": "x"}, "--name"),
        ("{folder}", {"license": "mit"}, "--license"),
        ("{folder}", {"trigger_words": ("x",)}, "--trigger-words"),
        ("hf://a/b", {"sha256": "0" * 64}, "--sha256"),
        ("hf://a/b", {"dry_run": True}, "--dry-run"),
        ("hf://a/b", {"in_place": True}, "--in-place"),
        ("https://host/x", {"in_place": True}, "--in-place"),
        ("https://host/x", {"dry_run": True}, "--dry-run"),
    ],
)
def test_a_word_that_means_nothing_for_a_source_is_refused_and_not_ignored(
    based: Registry, vector_file: Path, source: str, words: dict[str, Any], option: str
) -> None:
    named = source.format(file=vector_file, folder=vector_file.parent)
    with pytest.raises(InvalidSettings, match=option):
        take_in(based, named, **words)
    assert based.search(kind="style") == []


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.7z"])
def test_an_archive_is_refused_with_the_way_to_import_it(based: Registry, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(NotImportable, match="unpack it"):
        take_in(based, str(tmp_path / name))


HOSTILE = (
    *("", " ", ".", "..\\..\\x", "C:\\x", "C:x", "\\\\server\\share\\x", "//server/share/x"),
    *("%2e%2e/x", "%252e%252e/x", "x;y", "x#y", "x?y", "x\0y", "file:/etc/passwd", "file:///etc/passwd", ":x", "a:b"),
    *(
        "file://localhost/etc/passwd",
        "://x",
        "hf://../x",
        "hf://a/b/../../x",
        "hf://a/b%2e%2e",
        "https://",
        "ftp://h/x",
    ),
    *("HTTPS://127.0.0.1/x.safetensors", "http://[::1]/x", "http://169.254.169.254/latest", "gopher://h/x", "data:x"),
)


@pytest.mark.parametrize("source", HOSTILE)
def test_no_odd_source_gets_past_the_importer(
    based: Registry, tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "empty" / "inside")
    before = sorted(path for path in tmp_path.rglob("*") if "registry.db" not in path.name)
    try:
        imported = take_in(based, source).imported
    except (WorkbenchError, FormatError, RegistryError):
        imported = ()
    assert imported == ()
    assert sorted(path for path in tmp_path.rglob("*") if "registry.db" not in path.name) == before


def test_a_path_at_which_nothing_lies_is_named(based: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownPath, match="nothing"):
        take_in(based, str(tmp_path / "nothing"))

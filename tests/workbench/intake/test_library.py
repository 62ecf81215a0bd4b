"""Importing a folder of models: recursive, incremental, safe, and honest about what it left."""

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from registry import NotFound, Registry
from registry.lookups import Lookups
from workbench.intake.library import import_folder
from workbench.intake.report import ImportReport
from workbench.pace import Progress

Lora = Callable[..., bytes]
AGES_AGO = 1_600_000_000


@pytest.fixture
def models(tmp_path: Path, lora: Lora) -> Path:
    """A library: two vectors called papercut in two folders, one of ink, and things that are none."""
    folder = tmp_path / "models"
    for name, seed in (("a/papercut", 1), ("b/papercut", 2), ("b/deep/ink", 3)):
        path = folder / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lora(seed))
    return folder


def versions(report: ImportReport) -> dict[str, str]:
    """What was imported: the end of the path -> the version."""
    return {"/".join(Path(one.path).parts[-2:]): one.version for one in report.imported}


def reasons(report: ImportReport) -> dict[str, str]:
    """What was left: the file's name -> why."""
    return {one.path.name: one.reason for one in report.left}


def unreadable(folder: Path) -> None:
    """Give every weight file other bytes of the same size, mtime and inode: whoever reads it would notice."""
    for path in folder.rglob("*.safetensors"):
        status = path.stat()
        with path.open("r+b") as file:
            file.write(b"\0" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_every_model_below_a_folder_is_registered_under_a_name_of_its_own(based: Registry, models: Path) -> None:
    report = import_folder(based, models)
    assert versions(report) == {
        "a/papercut.safetensors": "papercut:1",
        "b/papercut.safetensors": "b-papercut:1",
        "deep/ink.safetensors": "ink:1",
    }
    assert (report.unchanged, report.left, report.is_cancelled) == (0, (), False)
    assert all(one.is_new for one in report.imported)
    version = based.get("ink")
    assert (version.kind, version.state, version.family) == ("style", "published", "tiny")
    assert version.origin is not None
    assert (version.origin.kind, version.origin.uri) == ("file", str(models / "b/deep/ink.safetensors"))


def test_looking_again_at_an_unchanged_library_reads_no_file(based: Registry, models: Path) -> None:
    import_folder(based, models)
    unreadable(models)
    report = import_folder(based, models)
    assert (report.imported, report.unchanged, report.left) == ((), 3, ())


def test_only_what_is_new_or_changed_is_looked_at(based: Registry, models: Path, lora: Lora) -> None:
    import_folder(based, models)
    (models / "new.safetensors").write_bytes(lora(4))
    (models / "b/deep/ink.safetensors").write_bytes(lora(5))
    report = import_folder(based, models)
    assert versions(report) == {"models/new.safetensors": "new:1", "deep/ink.safetensors": "ink:2"}
    assert report.unchanged == 2


def test_the_same_bytes_under_another_name_are_the_version_that_is_there(based: Registry, models: Path) -> None:
    import_folder(based, models)
    shutil.copy(models / "a/papercut.safetensors", models / "copy.safetensors")
    report = import_folder(based, models)
    assert [(one.version, one.is_new) for one in report.imported] == [("papercut:1", False)]
    with pytest.raises(NotFound):
        based.get("copy")
    assert import_folder(based, models).unchanged == 4


def test_a_file_that_was_touched_and_did_not_change_is_the_same_version(based: Registry, models: Path) -> None:
    import_folder(based, models)
    os.utime(models / "b/deep/ink.safetensors", ns=(AGES_AGO, AGES_AGO))
    report = import_folder(based, models)
    assert [(one.version, one.is_new) for one in report.imported] == [("ink:1", False)]
    assert import_folder(based, models).imported == ()


def test_a_file_that_was_imported_by_its_path_is_not_read_again(based: Registry, models: Path) -> None:
    from workbench.intake.sources import take_in

    take_in(based, str(models / "b/deep/ink.safetensors"), name="my-ink")
    assert versions(import_folder(based, models)).keys() == {"a/papercut.safetensors", "b/papercut.safetensors"}


def test_what_was_moved_is_known_by_its_bytes(based: Registry, models: Path) -> None:
    import_folder(based, models)
    (models / "b").rename(models / "moved")
    report = import_folder(based, models)
    assert sorted(one.version for one in report.imported) == ["b-papercut:1", "ink:1"]
    assert not any(one.is_new for one in report.imported)


def test_half_downloaded_and_damaged_files_are_named_and_left_and_nothing_of_them_is_kept(
    based: Registry, models: Path, lora: Lora
) -> None:
    whole = lora(6)
    (models / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (models / "arriving.safetensors").write_bytes(whole)
    (models / "arriving.safetensors.part").write_bytes(b"")
    (models / "page.safetensors").write_bytes(b"<!DOCTYPE html><title>log in</title>")
    before = sorted(based.store.folder.rglob("*"))
    report = import_folder(based, models / "a")
    report = import_folder(based, models)
    why = reasons(report)
    assert "truncated" in why["truncated.safetensors"]
    assert "still arriving" in why["arriving.safetensors"]
    assert "not a readable safetensors file" in why["page.safetensors"]
    assert str(models) not in why["truncated.safetensors"]
    stored = [path for path in based.store.folder.rglob("*") if path.is_file() and path not in before]
    assert len(stored) == 3
    (models / "arriving.safetensors.part").unlink()
    assert versions(import_folder(based, models)) == {"models/arriving.safetensors": "arriving:1"}


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"\x80\x02}q\x00.", b"7z\xbc\xaf\x27\x1c"])
def test_an_archive_or_pickle_that_is_called_safetensors_is_left_unopened(
    based: Registry, tmp_path: Path, magic: bytes
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "trojan.safetensors").write_bytes(magic + bytes(64))
    report = import_folder(based, tmp_path / "lib")
    assert (report.imported, list(reasons(report))) == ((), ["trojan.safetensors"])


def test_one_bad_file_does_not_stop_the_others_of_its_batch(based: Registry, models: Path) -> None:
    (models / "a/aaa.safetensors").write_bytes(b"")
    (models / "b/zzz.safetensors").write_bytes(b"x" * 50)
    report = import_folder(based, models)
    assert (len(report.imported), sorted(reasons(report))) == (3, ["aaa.safetensors", "zzz.safetensors"])


def test_what_is_no_vector_is_left_with_a_way_to_keep_it_all_the_same(based: Registry, tmp_path: Path) -> None:
    from safetensors.torch import save_file
    from torch import zeros

    (tmp_path / "lib").mkdir()
    save_file({"decoder.weight": zeros(2, 2)}, tmp_path / "lib" / "vae.safetensors")
    assert "--kind other" in reasons(import_folder(based, tmp_path / "lib"))["vae.safetensors"]
    assert versions(import_folder(based, tmp_path / "lib", kind="other")) == {"lib/vae.safetensors": "vae:1"}


def test_bases_and_peft_folders_in_a_library_are_versions_of_many_files(
    registry: Registry, base_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(base_folder, tmp_path / "lib" / "my-base")
    report = import_folder(registry, tmp_path / "lib")
    assert versions(report) == {"lib/my-base": "my-base:1"}
    assert registry.get("my-base").kind == "base"
    unreadable(tmp_path / "lib")
    assert import_folder(registry, tmp_path / "lib").unchanged == 1
    (tmp_path / "lib/my-base/unet/config.json").write_text('{"changed": true}')
    assert "unet" in next(iter(reasons(import_folder(registry, tmp_path / "lib")).values()))


def test_a_removed_model_is_not_brought_back_by_a_scan(based: Registry, models: Path, lora: Lora) -> None:
    import_folder(based, models)
    based.remove("ink")
    (models / "again.safetensors").write_bytes(lora(3))
    report = import_folder(based, models)
    assert "tau restore ink:1" in reasons(report)["again.safetensors"]
    assert report.imported == ()


def test_a_dry_run_names_what_would_be_looked_at_and_changes_nothing(based: Registry, models: Path) -> None:
    report = import_folder(based, models, dry_run=True)
    assert versions(report) == {"a/papercut.safetensors": "", "b/papercut.safetensors": "", "deep/ink.safetensors": ""}
    assert [version.kind for version in based.search()] == ["base"]


@pytest.mark.parametrize("in_place", [True, False])
def test_a_library_in_place_whose_files_changed_or_were_touched_is_read_once_more_and_no_more(
    based: Registry, models: Path, lora: Lora, in_place: bool
) -> None:
    import_folder(based, models, in_place=True)
    (models / "a/papercut.safetensors").write_bytes(lora(9))
    os.utime(models / "b/papercut.safetensors", (1, 1))
    second = import_folder(based, models, in_place=in_place)
    assert (len(second.imported), second.unchanged) == (2, 1)
    third = import_folder(based, models, in_place=in_place)
    assert (len(third.imported), third.unchanged) == (0, 3)


def test_in_place_copies_nothing_and_the_next_scan_knows_the_files(based: Registry, models: Path) -> None:
    before = sum(1 for path in based.store.folder.rglob("*") if path.is_file())
    import_folder(based, models, in_place=True)
    assert sum(1 for path in based.store.folder.rglob("*") if path.is_file()) == before
    assert based.file(based.get("ink")).read_bytes() == (models / "b/deep/ink.safetensors").read_bytes()
    assert import_folder(based, models).unchanged == 3


def test_drafts_stay_drafts(based: Registry, models: Path) -> None:
    import_folder(based, models, draft=True)
    assert based.get("ink").state == "draft"


def test_progress_counts_up_to_everything_and_foretells_the_end(based: Registry, models: Path) -> None:
    told: list[Progress] = []
    import_folder(based, models, batch_items=1, tell=told.append)
    assert [one.done_items for one in told] == [1, 2, 3]
    assert (told[-1].done_bytes, told[-1].seconds_left) == (told[-1].total_bytes, 0)
    assert all(one.seconds_left is not None for one in told)


def test_a_cancelled_import_keeps_what_was_done_and_the_next_one_goes_on_there(based: Registry, models: Path) -> None:
    stop = threading.Event()
    report = import_folder(based, models, batch_items=1, tell=lambda _: stop.set(), cancelled=stop.is_set)
    assert (report.is_cancelled, len(report.imported)) == (True, 1)
    rest = import_folder(based, models)
    assert (rest.unchanged, len(rest.imported)) == (1, 2)


def test_what_lies_beside_a_file_comes_with_it(based: Registry, models: Path) -> None:
    ink = models / "b/deep/ink"
    ink.with_suffix(".json").write_text(
        json.dumps({"activation text": "inky", "preferred weight": 0.6, "notes": "mine"})
    )
    Image.new("RGB", (8, 8), "red").save(models / "b/deep/ink.preview.png")
    import_folder(based, models)
    version = based.get("ink")
    assert (version.trigger_words, version.recommended_strength, version.note) == (("inky",), 0.6, "mine")
    (preview,) = based.previews("ink")
    assert preview.settings == {"source": "ink.preview.png"}
    (said,) = Lookups(based.database).of("ink")
    assert (said.service, said.uri, said.document["notes"]) == ("a1111", str(ink.with_suffix(".json")), "mine")


def test_a_sidecar_that_comes_later_is_read_without_reading_the_weights(based: Registry, models: Path) -> None:
    import_folder(based, models)
    unreadable(models)
    (models / "b/deep/ink.json").write_text(json.dumps({"activation text": "inky"}))
    report = import_folder(based, models)
    assert (report.unchanged, report.imported) == (3, ())
    assert based.get("ink").trigger_words == ("inky",)


def test_a_sidecar_never_replaces_what_somebody_said_here(based: Registry, models: Path) -> None:
    from workbench.intake.importing import import_file

    path = models / "b/deep/ink.safetensors"
    import_file(based, path, title="Our ink", trigger_words=("ours",))
    path.with_suffix(".json").write_text(json.dumps({"activation text": "theirs", "description": "theirs"}))
    import_folder(based, models)
    version = based.get("ink")
    assert (version.title, version.trigger_words, version.description) == ("Our ink", ("ours",), "theirs")


def test_a_sidecar_about_other_bytes_is_kept_and_not_believed(based: Registry, models: Path) -> None:
    record: dict[str, Any] = {
        "file_name": "ink",
        "sha256": "0" * 64,
        "model_name": "Somebody else's",
        "tags": ["wrong"],
    }
    (models / "b/deep/ink.metadata.json").write_text(json.dumps(record))
    report = import_folder(based, models)
    assert "other bytes" in reasons(report)["ink.metadata.json"]
    version = based.get("ink")
    assert (version.title, version.tags) == ("ink", {})
    (said,) = Lookups(based.database).of("ink")
    assert (said.document, said.is_linked) == (record, False)


def test_names_with_html_and_odd_characters_become_plain_slugs(based: Registry, tmp_path: Path, lora: Lora) -> None:
    names = ("<img src=x onerror=alert(1)>", "x..", "a;b#c%2e%2e", "CON", "Ünï çøde 漢字", "rank")
    (tmp_path / "lib").mkdir()
    for seed, name in enumerate(names):
        (tmp_path / "lib" / f"{name}.safetensors").write_bytes(lora(seed))
    report = import_folder(based, tmp_path / "lib")
    assert len(report.imported) == len(names)
    assert {one.version.partition(":")[0] for one in report.imported} == {
        *("img-src-x-onerror-alert-1", "x", "a-b-c-2e-2e", "con", "uni-cde", "rank-1")
    }

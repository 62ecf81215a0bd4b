"""Syncs: other tools' folders hold what a query finds, and nobody loses a file."""

import hashlib
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from formats import layout_hash
from registry import Registry
from workbench.errors import FolderTaken, SyncCancelled, SyncRunning, UnknownPath, UnknownTool
from workbench.giving.exporting import export
from workbench.giving.sync_manifest import held
from workbench.giving.syncing import sync
from workbench.intake.importing import import_file
from workbench.recipes.resolving import Architectures

LORAS = "models/loras"


def below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder apart from the sync's own."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".tauworks")
    }


def stats(folder: Path) -> dict[str, tuple[int, int]]:
    """Path -> inode and time of change of every file."""
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".tauworks")
    }


@pytest.fixture(scope="module")
def _stocked_home(lora: Callable[..., bytes], write_base: Callable[..., Path], tmp_path_factory: Any) -> Path:
    folder = Path(tmp_path_factory.mktemp("sync"))
    with Registry.open(folder / "home") as registry:
        registry.add(write_base(folder / "base"), kind="base", name="tiny")
        for seed, name in ((1, "papercut"), (2, "papercut"), (3, "ink")):
            (folder / f"{seed}.safetensors").write_bytes(lora(seed=seed))
            import_file(
                registry,
                folder / f"{seed}.safetensors",
                name=name,
                tags={"approved": "yes"} if name == "ink" else {},
                trigger_words=(name,),
                recommended_strength=0.7,
            )
    return folder / "home"


@pytest.fixture
def shelf(_stocked_home: Path, tmp_path: Path) -> Iterator[Registry]:
    """A registry with the base `tiny` and the styles `papercut` (2 versions) and `ink` (tagged)."""
    with Registry.open(Path(shutil.copytree(_stocked_home, tmp_path / "home", symlinks=True))) as registry:
        yield registry


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    """An empty ComfyUI."""
    (tmp_path / "comfy").mkdir()
    return tmp_path / "comfy"


def sole(registry: Registry, ref: str) -> str:
    return registry.get(ref).artifacts[0].sha256


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_each_model_is_one_file_of_its_name_in_the_tools_own_folder(shelf: Registry, comfy: Path) -> None:
    report = sync(shelf, comfy, "comfyui")
    files = below(comfy)
    assert digest(files[f"{LORAS}/papercut.safetensors"]) == sole(shelf, "papercut:2")
    assert digest(files[f"{LORAS}/ink.safetensors"]) == sole(shelf, "ink:1")
    assert "models/diffusers/tiny/unet/config.json" in files
    assert report.versions == 3
    assert sorted(report.written) == sorted(files)


def test_the_web_ui_gets_its_own_folders_and_words(shelf: Registry, comfy: Path) -> None:
    report = sync(shelf, comfy, "a1111")
    assert set(below(comfy)) == {
        *(f"models/Lora/{name}{suffix}" for name in ("papercut", "ink") for suffix in (".safetensors", ".json"))
    }
    words = json.loads((comfy / "models/Lora/ink.json").read_text())
    assert (words["activation text"], words["preferred weight"]) == ("ink", 0.7)
    assert [ref for ref, _ in report.left_out] == ["tiny:1"]
    assert "diffusers" in report.left_out[0][1]


def test_a_second_run_changes_nothing(shelf: Registry, comfy: Path) -> None:
    first = sync(shelf, comfy, "comfyui")
    before = stats(comfy)
    second = sync(shelf, comfy, "comfyui")
    assert (second.written, second.removed) == ((), ())
    assert second.unchanged == len(first.written)
    assert stats(comfy) == before


def test_only_what_the_query_finds_is_there_and_the_rest_of_ours_goes(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui")
    (comfy / LORAS / "mine.safetensors").write_bytes(b"mine")
    kept = (comfy / LORAS / "ink.safetensors").stat().st_mtime_ns
    report = sync(shelf, comfy, "comfyui", "tag:approved=yes")
    assert set(below(comfy)) == {f"{LORAS}/ink.safetensors", f"{LORAS}/mine.safetensors"}
    assert f"{LORAS}/papercut.safetensors" in report.removed
    assert (comfy / LORAS / "ink.safetensors").stat().st_mtime_ns == kept
    assert not (comfy / "models/diffusers/tiny").exists()


def test_a_new_version_replaces_the_file_of_its_model(
    shelf: Registry, comfy: Path, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    sync(shelf, comfy, "comfyui", "kind:style")
    (tmp_path / "4.safetensors").write_bytes(lora(seed=4))
    import_file(shelf, tmp_path / "4.safetensors", name="papercut")
    report = sync(shelf, comfy, "comfyui", "kind:style")
    assert report.written == (f"{LORAS}/papercut.safetensors",)
    assert digest(below(comfy)[f"{LORAS}/papercut.safetensors"]) == sole(shelf, "papercut:3")


def test_every_version_has_a_file_of_its_own_when_that_is_asked(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui", "kind:style", every_version=True)
    assert {path: digest(content) for path, content in below(comfy).items()} == {
        f"{LORAS}/papercut-v1.safetensors": sole(shelf, "papercut:1"),
        f"{LORAS}/papercut-v2.safetensors": sole(shelf, "papercut:2"),
        f"{LORAS}/ink-v1.safetensors": sole(shelf, "ink:1"),
    }


def test_a_dry_run_says_the_same_and_writes_nothing(shelf: Registry, comfy: Path) -> None:
    planned = sync(shelf, comfy, "comfyui", dry_run=True)
    assert list(comfy.iterdir()) == []
    assert planned.written == sync(shelf, comfy, "comfyui").written
    gone = sync(shelf, comfy, "comfyui", "name:ink", dry_run=True)
    assert len(below(comfy)) == len(planned.written)
    assert gone.removed == sync(shelf, comfy, "comfyui", "name:ink").removed


def test_a_file_that_was_there_stays_and_ours_gets_another_name(shelf: Registry, comfy: Path) -> None:
    (comfy / LORAS).mkdir(parents=True)
    (comfy / LORAS / "ink.safetensors").write_bytes(b"somebody's own ink")
    report = sync(shelf, comfy, "comfyui", "name:ink")
    other = f"{LORAS}/ink-{shelf.get('ink').digest[:8]}.safetensors"
    assert below(comfy)[f"{LORAS}/ink.safetensors"] == b"somebody's own ink"
    assert digest(below(comfy)[other]) == sole(shelf, "ink")
    assert report.kept == (f"{LORAS}/ink.safetensors",)
    assert sync(shelf, comfy, "comfyui", "name:ink").written == ()


def test_the_same_bytes_that_were_there_are_used_and_never_removed(shelf: Registry, comfy: Path) -> None:
    (comfy / LORAS).mkdir(parents=True)
    place = comfy / LORAS / "ink.safetensors"
    place.write_bytes(shelf.blob_path(sole(shelf, "ink")).read_bytes())
    before = stats(comfy)
    assert sync(shelf, comfy, "comfyui", "name:ink").written == ()
    assert sync(shelf, comfy, "comfyui", "name:ink").written == ()
    assert sync(shelf, comfy, "comfyui", "name:papercut").removed == ()
    assert stats(comfy).items() >= before.items()


def test_a_file_of_ours_that_somebody_changed_is_theirs_from_then_on(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui", "name:ink")
    place = comfy / LORAS / "ink.safetensors"
    place.write_bytes(b"retrained")
    report = sync(shelf, comfy, "comfyui", "name:papercut")
    assert place.read_bytes() == b"retrained"
    assert report.kept == (f"{LORAS}/ink.safetensors",)
    sync(shelf, comfy, "comfyui", "name:ink")
    assert place.read_bytes() == b"retrained"


def test_a_file_that_was_only_touched_is_still_ours(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui", "name:ink")
    os.utime(comfy / LORAS / "ink.safetensors", ns=(1, 1))
    assert sync(shelf, comfy, "comfyui", "name:ink").unchanged == 1
    os.utime(comfy / LORAS / "ink.safetensors", ns=(2, 2))
    assert sync(shelf, comfy, "comfyui", "name:papercut").removed == (f"{LORAS}/ink.safetensors",)


def test_a_file_of_ours_that_is_gone_is_written_again(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui", "name:ink")
    (comfy / LORAS / "ink.safetensors").unlink()
    assert sync(shelf, comfy, "comfyui", "name:ink").written == (f"{LORAS}/ink.safetensors",)


def test_a_link_in_the_way_is_not_followed(shelf: Registry, comfy: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (comfy / LORAS).mkdir(parents=True)
    (comfy / LORAS / "ink.safetensors").symlink_to(tmp_path / "precious")
    sync(shelf, comfy, "comfyui", "name:ink")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_what_another_tool_does_to_a_file_does_not_reach_the_catalog(shelf: Registry, comfy: Path) -> None:
    sync(shelf, comfy, "comfyui", "name:ink")
    place = comfy / LORAS / "ink.safetensors"
    blob = shelf.blob_path(sole(shelf, "ink"))
    assert not place.is_symlink()
    assert place.stat().st_ino != blob.stat().st_ino
    with place.open("r+b") as file:
        file.write(b"XXXX")
    assert digest(blob.read_bytes()) == sole(shelf, "ink")


def test_layouts_that_a_tool_does_not_read_become_kohya(shelf: Registry, comfy: Path, tmp_path: Path) -> None:
    export(shelf, "ink", tmp_path / "peft", layout="peft")
    import_file(shelf, tmp_path / "peft", name="folder", kind="style")
    assert sync(shelf, comfy, "comfyui", "name:folder").written == (f"{LORAS}/folder.safetensors",)
    table = Architectures(shelf).of(shelf.get("ink"))
    assert table is not None
    made = comfy / LORAS / "folder.safetensors"
    assert layout_hash(made, table) == layout_hash(shelf.file(shelf.get("ink")), table)
    assert all(key.startswith("lora_unet_") for key in load_file(made))
    assert sync(shelf, comfy, "comfyui", "name:folder").unchanged == 1


def test_what_cannot_be_converted_is_named_and_the_rest_is_written(
    shelf: Registry, comfy: Path, tmp_path: Path
) -> None:
    export(shelf, "ink", tmp_path / "peft", layout="peft")
    weights = tmp_path / "peft" / "adapter_model.safetensors"
    save_file(load_file(weights) | {"base_model.model.unknown.lora_A.weight": torch.ones(2, 8)}, weights)
    import_file(shelf, tmp_path / "peft", name="strange", kind="style")
    report = sync(shelf, comfy, "comfyui", "kind:style")
    assert [ref for ref, _ in report.left_out] == ["strange:1"]
    assert f"{LORAS}/ink.safetensors" in below(comfy)


def test_names_that_windows_keeps_for_devices_are_changed(
    shelf: Registry, comfy: Path, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "con.safetensors").write_bytes(lora(seed=7))
    import_file(shelf, tmp_path / "con.safetensors", name="con")
    sync(shelf, comfy, "comfyui", "name:con")
    assert set(below(comfy)) == {f"{LORAS}/con-1.safetensors"}


def test_models_whose_names_would_meet_stay_apart(
    shelf: Registry, comfy: Path, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    (tmp_path / "x.safetensors").write_bytes(lora(seed=8))
    import_file(shelf, tmp_path / "x.safetensors", name="ink-v1")
    sync(shelf, comfy, "comfyui", "ink", every_version=True)
    assert {digest(content) for content in below(comfy).values()} == {sole(shelf, "ink"), sole(shelf, "ink-v1")}


def test_a_preview_stands_beside_its_model(shelf: Registry, comfy: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "PNG")
    shelf.add_preview("ink", {"prompt": "ink"}, out.getvalue(), {})
    sync(shelf, comfy, "comfyui", "name:ink")
    assert below(comfy)[f"{LORAS}/ink.preview.png"] == out.getvalue()


def test_after_a_crash_nothing_of_ours_is_taken_for_somebody_elses(shelf: Registry, comfy: Path) -> None:
    with pytest.raises(SyncCancelled):
        sync(shelf, comfy, "comfyui", "kind:style", cancelled=_after(1))
    assert len(below(comfy)) == 1
    assert [path.name for path in comfy.iterdir() if "part" in path.name] == []
    report = sync(shelf, comfy, "comfyui", "kind:style")
    assert report.unchanged == 1
    assert set(below(comfy)) == {f"{LORAS}/ink.safetensors", f"{LORAS}/papercut.safetensors"}
    assert report.kept == ()


def _after(files: int) -> Callable[[], bool]:
    """False so many times, then True."""
    answers = itertools.chain(itertools.repeat(False, files), itertools.repeat(True))
    return lambda: next(answers)


def test_progress_counts_up_to_all(shelf: Registry, comfy: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = sync(shelf, comfy, "comfyui", "kind:style", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(report.written), len(report.written))


def test_two_syncs_of_one_folder_do_not_meet(shelf: Registry, comfy: Path) -> None:
    with held(comfy), pytest.raises(SyncRunning):
        sync(shelf, comfy, "comfyui")


def test_a_folder_that_is_not_there_is_not_made(shelf: Registry, tmp_path: Path) -> None:
    with pytest.raises(UnknownPath):
        sync(shelf, tmp_path / "typo", "comfyui")
    assert not (tmp_path / "typo").exists()


def test_an_unknown_tool_is_named(shelf: Registry, comfy: Path) -> None:
    with pytest.raises(UnknownTool, match="comfyui, a1111"):
        sync(shelf, comfy, "invoke")


def test_a_manifest_that_somebody_wrote_leads_nowhere_else(shelf: Registry, comfy: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    lines = [
        {"schema": "tauworks.sync/1"},
        {"path": "../precious", "ref": "x:1", "key": "", "sha256": digest(b"precious"), "size": 8, "mtime_ns": 0},
    ]
    manifest = comfy / ".tauworks-sync-comfyui.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sync(shelf, comfy, "comfyui", "name:ink")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    manifest.write_text("something else")
    with pytest.raises(FolderTaken, match="manifest"):
        sync(shelf, comfy, "comfyui")


def test_a_version_whose_bytes_are_lost_is_left_out_and_what_stands_there_of_it_stays(
    shelf: Registry, comfy: Path, lora: Callable[..., bytes], tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere.safetensors"
    place.write_bytes(lora(seed=9))
    import_file(shelf, place, name="oil", in_place=True)
    sync(shelf, comfy, "comfyui", "name:oil")
    place.unlink()
    (comfy / LORAS / "oil.safetensors").rename(tmp_path / "copy")
    report = sync(shelf, comfy, "comfyui", "kind:style")
    assert report.failed == ("oil:1",)
    assert [ref for ref, reason in report.left_out if "no file is there" in reason] == ["oil:1"]
    assert set(below(comfy)) == {f"{LORAS}/ink.safetensors", f"{LORAS}/papercut.safetensors"}
    assert report.versions == 2
    (tmp_path / "copy").rename(comfy / LORAS / "oil.safetensors")
    moved = sync(shelf, comfy, "comfyui", "kind:style", every_version=True)
    assert (moved.failed, f"{LORAS}/oil.safetensors" in moved.removed) == (("oil:1",), False)
    assert {f"{LORAS}/oil.safetensors", f"{LORAS}/ink-v1.safetensors"} <= below(comfy).keys()


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_which_a_file_is_lost_stops_nobody_else(
    shelf: Registry, comfy: Path, tmp_path: Path, dry_run: bool
) -> None:
    export(shelf, "ink", tmp_path / "peft", layout="peft")
    import_file(shelf, tmp_path / "peft", name="folder", kind="style", in_place=True)
    sync(shelf, comfy, "comfyui", "name:folder")
    before = below(comfy)
    (tmp_path / "peft" / "adapter_config.json").unlink()
    report = sync(shelf, comfy, "comfyui", "kind:style", dry_run=dry_run)
    assert report.failed == ("folder:1",)
    assert report.removed == ()
    assert (f"{LORAS}/ink.safetensors" in below(comfy)) is not dry_run
    assert before.items() <= below(comfy).items()


def test_a_pipeline_is_renewed_whole_or_not_at_all(
    shelf: Registry, comfy: Path, write_base: Callable[..., Path], tmp_path: Path
) -> None:
    sync(shelf, comfy, "comfyui", "kind:base")
    before = below(comfy)
    folder = write_base(tmp_path / "next")
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel", "note": "other"}')
    (folder / "vae.txt").write_text("lost soon")
    shelf.add(folder, kind="base", name="tiny", in_place=True)
    (folder / "vae.txt").unlink()
    assert sync(shelf, comfy, "comfyui", "kind:base").failed == ("tiny:2",)
    assert below(comfy) == before
    (folder / "vae.txt").write_text("lost soon")
    assert sync(shelf, comfy, "comfyui", "kind:base").failed == ()
    assert "other" in below(comfy)["models/diffusers/tiny/unet/config.json"].decode()


def test_a_lost_picture_does_not_keep_its_model_out(shelf: Registry, comfy: Path) -> None:
    preview = shelf.add_preview("ink", {}, b"a picture", {})
    path = shelf.blob_path(preview.picture)
    path.chmod(0o644)
    path.unlink()
    report = sync(shelf, comfy, "comfyui", "name:ink")
    assert set(below(comfy)) == {f"{LORAS}/ink.safetensors"}
    assert (report.versions, report.failed) == (1, ("ink:1",))
    assert "ink.preview.png" in report.left_out[0][1]


def test_what_killed_syncs_left_is_removed(shelf: Registry, comfy: Path) -> None:
    (comfy / ".tauworks-sync-part-killed").mkdir()
    (comfy / ".tauworks-sync-part-killed" / "0").write_bytes(b"half")
    with held(comfy), pytest.raises(SyncRunning):
        sync(shelf, comfy, "comfyui", "name:ink")
    assert (comfy / ".tauworks-sync-part-killed").is_dir()
    sync(shelf, comfy, "comfyui", "name:ink")
    assert not (comfy / ".tauworks-sync-part-killed").exists()

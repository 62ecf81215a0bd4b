"""Walking a library: what is a candidate, what is left and why."""

import os
from pathlib import Path

import pytest

from workbench.errors import NotImportable
from workbench.intake import scanning
from workbench.intake.scanning import Candidate, LeftOut, candidate_of, is_one_model, scan


def write(folder: Path, *names: str) -> None:
    """Empty-ish files of those names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345678")


def found(folder: Path) -> list[str]:
    """The candidates below a folder, relative to it."""
    return [one.path.relative_to(folder.resolve()).as_posix() for one in scan(folder) if isinstance(one, Candidate)]


def left(folder: Path) -> dict[str, str]:
    """What was left below a folder, and why."""
    return {
        one.path.relative_to(folder.resolve()).as_posix(): one.reason
        for one in scan(folder)
        if isinstance(one, LeftOut)
    }


def test_weights_are_found_at_any_depth_in_the_order_of_the_names(tmp_path: Path) -> None:
    write(tmp_path, "z.safetensors", "a/x.safetensors", "a/deep/er/y.SAFETENSORS", "b/readme.txt", "b/w.safetensors")
    assert found(tmp_path) == ["z.safetensors", "a/x.safetensors", "a/deep/er/y.SAFETENSORS", "b/w.safetensors"]
    assert left(tmp_path) == {}


def test_a_candidate_carries_the_stat_by_which_it_is_known_again(tmp_path: Path) -> None:
    write(tmp_path, "a.safetensors")
    (one,) = scan(tmp_path)
    status = (tmp_path / "a.safetensors").stat()
    assert isinstance(one, Candidate)
    (file,) = one.files
    assert (file.size, file.mtime_ns, file.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)
    assert one.beside_ns == 0


@pytest.mark.parametrize("suffix", scanning.BESIDE)
def test_a_candidate_knows_when_something_beside_it_was_written(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, "a.safetensors", f"a{suffix}", "other.json")
    (one,) = (one for one in scan(tmp_path) if isinstance(one, Candidate))
    assert one.beside_ns >= (tmp_path / f"a{suffix}").stat().st_mtime_ns


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.TGZ", "x.7z", "x.rar", "x.tar.zst", "x.tar.xz"])
def test_archives_are_named_and_left(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert "unpack it" in left(tmp_path)[name]


@pytest.mark.parametrize("name", ["x.ckpt", "x.pt", "x.pth", "x.bin", "x.pkl"])
def test_pickles_are_named_and_left(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    assert "pickle" in left(tmp_path)[name]


@pytest.mark.parametrize("suffix", sorted(scanning.UNFINISHED))
def test_unfinished_downloads_are_named_and_left_under_either_name(tmp_path: Path, suffix: str) -> None:
    write(tmp_path, f"a.safetensors{suffix}", "b.safetensors", f"b.safetensors{suffix}")
    assert found(tmp_path) == []
    assert set(left(tmp_path)) == {f"a.safetensors{suffix}", "b.safetensors", f"b.safetensors{suffix}"}
    assert "still arriving" in left(tmp_path)["b.safetensors"]


def test_a_base_and_a_peft_folder_are_one_candidate_each_with_all_their_files(tmp_path: Path) -> None:
    write(
        tmp_path / "base", "model_index.json", "unet/config.json", "unet/model.safetensors", "unet/old.bin", ".hidden"
    )
    write(tmp_path / "peft", "adapter_config.json", "adapter_model.safetensors")
    whole = {one.path.name: one for one in scan(tmp_path) if isinstance(one, Candidate)}
    assert sorted(whole) == ["base", "peft"]
    names = [Path(file.path).relative_to(whole["base"].path).as_posix() for file in whole["base"].files]
    assert sorted(names) == ["model_index.json", "unet/config.json", "unet/model.safetensors"]
    assert is_one_model(tmp_path / "base")
    assert is_one_model(tmp_path / "peft")
    assert not is_one_model(tmp_path)


def test_a_base_with_a_part_that_is_still_arriving_is_left_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path / "base", "unet/config.json", "unet/model.safetensors.part")
    assert found(tmp_path) == []
    assert "still arriving: model.safetensors.part" in left(tmp_path)["base"]


def test_links_to_folders_are_never_entered_so_that_a_circle_ends(tmp_path: Path) -> None:
    write(tmp_path, "a/x.safetensors")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert found(tmp_path) == ["a/x.safetensors"]
    assert "link to a folder" in left(tmp_path)["a/up"]


def test_links_to_files_outside_are_left_and_those_to_nameless_blobs_inside_are_taken(tmp_path: Path) -> None:
    outside, library = tmp_path / "outside", tmp_path / "library"
    write(outside, "secret.safetensors")
    write(library, "x.safetensors", "blobs/0123abcd")
    (library / "out.safetensors").symlink_to(outside / "secret.safetensors")
    (library / "twice.safetensors").symlink_to("x.safetensors")
    (library / "cached.safetensors").symlink_to("blobs/0123abcd")
    (library / "broken.safetensors").symlink_to("nowhere")
    (library / "circle.safetensors").symlink_to("circle.safetensors")
    assert found(library) == ["cached.safetensors", "x.safetensors"]
    why = left(library)
    assert "out of the folder" in why["out.safetensors"]
    assert "imported under its own name" in why["twice.safetensors"]
    assert {"broken.safetensors", "circle.safetensors"} <= why.keys()


def test_special_files_are_no_candidates(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert left(tmp_path) == {"pipe.safetensors": "no regular file"}


def test_a_name_that_is_no_text_is_named_and_left(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.safetensors"
    try:
        Path(os.fsdecode(path)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (one,) = scan(tmp_path)
    assert isinstance(one, LeftOut)
    assert "UTF-8" in one.reason


def test_caches_version_control_and_hidden_weights_are_not_walked(tmp_path: Path) -> None:
    write(tmp_path, ".git/x.safetensors", ".cache/x.safetensors", "__MACOSX/._x.safetensors", "._x.safetensors")
    assert list(scan(tmp_path)) == []


def test_folders_deeper_than_the_limit_are_named(tmp_path: Path) -> None:
    write(tmp_path, "/".join(["d"] * (scanning.MAX_DEPTH + 1)) + "/x.safetensors")
    assert found(tmp_path) == []
    (reason,) = left(tmp_path).values()
    assert f"more than {scanning.MAX_DEPTH} folders deep" in reason


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "x.safetensors")
    with pytest.raises(NotImportable, match="no folder"):
        list(scan(tmp_path / "x.safetensors"))


def test_a_path_on_its_own_is_the_candidate_that_a_walk_would_have_found(tmp_path: Path) -> None:
    write(tmp_path, "x.safetensors", "x.json")
    assert [candidate_of(tmp_path.resolve() / "x.safetensors")] == list(scan(tmp_path))
    assert isinstance(candidate_of(tmp_path / "nothing.safetensors"), LeftOut)


def test_a_pickle_in_the_folder_of_a_model_is_named_where_it_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "peft", "adapter_config.json", "adapter_model.safetensors", "optimizer.bin", "deep/scheduler.pt")
    write(tmp_path / "base", "unet/config.json", "unet/weights.bin")
    assert found(tmp_path) == ["base", "peft"]
    why = left(tmp_path)
    assert why.keys() == {"peft/optimizer.bin", "peft/deep/scheduler.pt"}
    assert all("a pickle" in reason for reason in why.values())
    assert isinstance(candidate_of(tmp_path / "peft"), Candidate)

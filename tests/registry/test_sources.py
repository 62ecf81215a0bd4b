from collections.abc import Callable
from pathlib import Path

import pytest

from registry import InvalidName, Refused
from registry.sources import open_source, why_left_out

Write = Callable[..., Path]


def test_a_single_file_is_called_the_same_whatever_its_name(write_vector: Write) -> None:
    (file,) = open_source(write_vector("Some Name")).files
    assert (file.path, file.role, file.media_type) == (
        "weights.safetensors",
        "weights",
        "application/vnd.safetensors",
    )


def test_hidden_files_and_pickles_beside_safetensors_are_left_out_and_named(write_base: Write) -> None:
    folder = write_base()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")
    (folder / ".gitattributes").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    source = open_source(folder)
    assert source.left_out == (".gitattributes", "unet/diffusion_pytorch_model.bin")
    assert [why_left_out(path).split(",")[0] for path in source.left_out] == ["a hidden file", "a pickle"]
    assert len(source.files) == 6


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".PKL"])
def test_a_pickle_alone_is_quarantined(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"x")
    (file,) = open_source(path).files
    assert (file.path, file.role) == (f"weights{suffix.lower()}", "quarantined")


@pytest.mark.parametrize("name", ["model.safetensors.part", "model.safetensors.incomplete", "x.crdownload"])
def test_a_half_downloaded_file_is_refused_alone_and_in_a_folder(write_base: Write, name: str) -> None:
    folder = write_base()
    (folder / name).write_bytes(b"x")
    for path in (folder, folder / name):
        with pytest.raises(Refused, match="unfinished download"):
            open_source(path)


def test_a_link_that_leaves_the_folder_is_refused(write_base: Write, tmp_path: Path) -> None:
    folder = write_base()
    secret = tmp_path / "secret.txt"
    secret.write_text("x")
    (folder / "notes.txt").symlink_to(secret)
    with pytest.raises(Refused, match="expected a file inside"):
        open_source(folder)


def test_a_link_to_a_folder_is_refused(write_base: Write, tmp_path: Path) -> None:
    folder = write_base()
    (folder / "vae").symlink_to(tmp_path)
    with pytest.raises(Refused, match="a link to a folder"):
        open_source(folder)


def test_the_links_of_a_hub_cache_are_followed_into_its_blobs(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "abc"
    blob = tmp_path / "models--a--b" / "blobs" / "0123"
    snapshot.mkdir(parents=True)
    blob.parent.mkdir()
    blob.write_text("{}")
    (snapshot / "config.json").symlink_to(blob)
    (file,) = open_source(snapshot).files
    assert (file.path, file.source) == ("config.json", blob.resolve())


def test_an_empty_folder_and_one_of_a_thousand_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="nothing to register"):
        open_source(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    for number in range(2_001):
        (tmp_path / "full" / str(number)).touch()
    with pytest.raises(Refused, match="more than 2,000 files"):
        open_source(tmp_path / "full")


@pytest.mark.parametrize("name", ["a\\b.json", "a:b.json", "nul\x01.json", "space /x", "dot./x"])
def test_a_path_that_another_system_could_misread_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("{}")
    with pytest.raises(InvalidName, match="expected a plain relative path"):
        open_source(folder)

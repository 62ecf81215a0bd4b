"""One set of pictures is the same data set in a folder, in parquet files and in tar shards."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from distill_jobs.data.dataset import read_dataset
from distill_jobs.data.reading import Reading
from distill_jobs.data.sources import expanded
from distill_jobs.errors import CorruptPictures, DatasetError, EmptyDataset
from distill_jobs.material.cache import latents

Picture = tuple[str, bytes, str]
Write = Callable[[Path, Sequence[Picture]], str]


def test_the_same_pictures_have_one_fingerprint_and_the_same_pixels_in_every_kind_of_source(
    write: Write, write_texts: Callable[..., Path], pictures: list[Picture], tmp_path: Path
) -> None:
    folder = read_dataset(write_texts(tmp_path / "folder", pictures))
    other = read_dataset(write(tmp_path / "other", pictures))
    assert other.entries == folder.entries
    assert other.fingerprint == folder.fingerprint
    assert torch.equal(other.pixels(0, 99, (32, 48)), folder.pixels(0, 99, (32, 48)))
    assert torch.equal(other.pixels(2, 5, (32, 48)), folder.pixels(0, 99, (32, 48))[2:5])


def test_the_same_pictures_have_the_same_latents_in_every_kind_of_source(
    write: Write,
    write_texts: Callable[..., Path],
    pictures: list[Picture],
    base: StableDiffusionPipeline,
    tmp_path: Path,
) -> None:
    expected = latents(base, read_dataset(write_texts(tmp_path / "folder", pictures)), tmp_path / "cache")
    got = latents(base, read_dataset(write(tmp_path / "other", pictures)), tmp_path / "another cache")
    assert torch.equal(got, expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_the_source_changes_nothing(
    write: Write, pictures: list[Picture], tmp_path: Path, seed: int
) -> None:
    shuffled = random.Random(seed).sample(pictures, len(pictures))
    first, second = (read_dataset(write(tmp_path / str(i), rows)) for i, rows in enumerate((pictures, shuffled)))
    assert (first.entries, first.fingerprint) == (second.entries, second.fingerprint)
    assert torch.equal(first.pixels(0, 99, (16, 16)), second.pixels(0, 99, (16, 16)))


def test_another_caption_and_another_picture_are_other_fingerprints(
    write: Write, pictures: list[Picture], tmp_path: Path
) -> None:
    (name, contents, caption), *rest = pictures
    recaptioned = [(name, contents, f"{caption}!"), *rest]
    repainted = [(name, contents + b"\0", caption), *rest]
    kinds = [
        read_dataset(write(tmp_path / str(i), rows)) for i, rows in enumerate((pictures, recaptioned, repainted, rest))
    ]
    assert len({dataset.fingerprint for dataset in kinds}) == 4


def test_corrupt_pictures_are_all_named_and_counted_or_left_out_on_request(
    write: Write, pictures: list[Picture], tmp_path: Path
) -> None:
    damaged = [(name, contents[: len(contents) // (2 if i in (1, 4) else 1)], c) for i, (name, contents, c) in
               enumerate(pictures)]  # fmt: skip
    where = write(tmp_path, damaged)
    with pytest.raises(CorruptPictures, match=r"2 corrupt pictures: .*--skip-corrupt") as caught:
        read_dataset(where)
    assert len(caught.value.problems) == 2
    left = read_dataset(where, Reading(skip_corrupt=True))
    assert left.left_out == caught.value.problems
    kept = [row for i, row in enumerate(pictures) if i not in (1, 4)]
    whole = read_dataset(write(tmp_path / "whole", kept))
    assert (left.entries, left.fingerprint) == (whole.entries, whole.fingerprint)
    assert torch.equal(left.pixels(0, 99, (8, 8)), whole.pixels(0, 99, (8, 8)))
    assert whole.left_out == ()


def test_where_every_picture_is_corrupt_leaving_them_out_leaves_nothing(
    write: Write, pictures: list[Picture], tmp_path: Path
) -> None:
    where = write(tmp_path, [(name, b"nothing", caption) for name, _, caption in pictures])
    with pytest.raises(EmptyDataset):
        read_dataset(where, Reading(skip_corrupt=True))


def test_a_source_that_changes_after_it_was_read_is_refused(
    write: Write, pictures: list[Picture], tmp_path: Path
) -> None:
    dataset = read_dataset(write(tmp_path, pictures))
    for path in [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".txt"]:
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DatasetError, match=r"since it was read|broken"):
        dataset.pixels(0, 3, (8, 8))


def test_a_source_says_what_it_is_and_where(pictures: list[Picture], write: Write, tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "birds", pictures))
    assert (dataset.kind in ("folder", "parquet", "webdataset"), dataset.title) == (True, "birds")
    assert dataset.uri.startswith(f"file://{tmp_path}/birds")


def test_a_folder_of_two_kinds_and_one_of_two_splits_are_refused(
    write_texts: Callable[..., Path], write_table: Callable[..., Path], pictures: list[Picture], tmp_path: Path
) -> None:
    write_table(tmp_path / "train-00000-of-00001.parquet", pictures[:4])
    write_table(tmp_path / "test-00000-of-00001.parquet", pictures[4:])
    with pytest.raises(DatasetError, match=rf"splits test, train; .*{tmp_path}/test\*\.parquet"):
        read_dataset(tmp_path)
    assert len(read_dataset(tmp_path / "train*.parquet").entries) == 4
    (tmp_path / "test-00000-of-00001.parquet").unlink()
    assert len(read_dataset(tmp_path).entries) == 4
    write_texts(tmp_path / "more", pictures)
    with pytest.raises(DatasetError, match="7 files of the kind folder, 1 files of the kind parquet"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{a,b}-{0..1}.tar", ["a-0.tar", "a-1.tar", "b-0.tar", "b-1.tar"]),
    ],
)
def test_braces_are_written_out_as_a_shell_does(text: str, written: list[str]) -> None:
    assert expanded(text) == written


@pytest.mark.parametrize("text", ["a-{5..3}.tar", "a-{0..999999}.tar", "{0..999}{0..999}.tar"])
def test_braces_that_stand_for_nothing_or_too_much_are_refused(text: str) -> None:
    with pytest.raises(DatasetError, match=r"empty or has more|more than 100,000 files"):
        expanded(text)


def test_a_pattern_without_its_files_names_the_missing_ones(
    write_tar: Callable[..., Path], samples: Callable[..., dict[str, bytes]], pictures: list[Picture], tmp_path: Path
) -> None:
    write_tar(tmp_path / "a-0.tar", samples(pictures))
    with pytest.raises(DatasetError, match=r"2 of 3 match no file: .*a-1\.tar, .*a-2\.tar"):
        read_dataset(tmp_path / "a-{0..2}.tar")
    (tmp_path / "a.zip").touch()
    with pytest.raises(DatasetError, match=r"\.zip; expected \.parquet"):
        read_dataset(tmp_path / "a.zip")
    with pytest.raises(DatasetError, match=r"\.tar, \.zip; expected"):
        read_dataset(tmp_path / "a*")

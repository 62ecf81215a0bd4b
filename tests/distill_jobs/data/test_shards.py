"""Tar shards: what belongs together, and every way in which an archive can be broken."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from distill_jobs.data.dataset import read_dataset
from distill_jobs.data.reading import Reading
from distill_jobs.errors import BrokenArchive, CorruptPictures, DatasetError, MissingCaptions, UnknownColumn

Picture = tuple[str, bytes, str]
Members = dict[str, bytes]


@pytest.fixture
def png(pictures: list[Picture]) -> bytes:
    """A picture."""
    return pictures[0][1]


@pytest.fixture
def shard(write_tar: Callable[..., Path], tmp_path: Path) -> Callable[[Members], Path]:
    """shard(members): a tar of them."""
    return lambda members: write_tar(tmp_path / "birds.tar", members)


Shard = Callable[[Members], Path]


def test_names_keep_their_folders_and_other_files_are_no_samples(shard: Shard, png: bytes) -> None:
    members = {
        "./a/1.png": png,
        "a/1.txt": b"one\n",
        "b/1.png": png,
        "b/1.txt": b"two",
        "b/1.cls": b"7",
        "LICENSE": b"",
    }
    dataset = read_dataset(shard(members))
    assert [(entry.name, entry.caption) for entry in dataset.entries] == [("a/1.png", "one"), ("b/1.png", "two")]


@pytest.mark.parametrize("name", ["../1.png", "/etc/1.png", "a/../../1.png"])
def test_a_member_that_leaves_the_archive_is_refused(shard: Shard, png: bytes, name: str) -> None:
    with pytest.raises(BrokenArchive, match="leaves the archive"):
        read_dataset(shard({name: png, "1.txt": b"one"}))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_ordinary_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(BrokenArchive, match="no ordinary file"):
        read_dataset(tmp_path / "a.tar")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_an_archive_that_is_cut_off_anywhere_is_refused(
    shard: Shard, samples: Callable[..., Members], pictures: list[Picture], share: float
) -> None:
    path = shard(samples(pictures))
    whole = path.read_bytes()
    end = whole.rstrip(b"\0")
    path.write_bytes(whole[: int(len(end) * share)])
    with pytest.raises(BrokenArchive):
        read_dataset(path)


def test_an_archive_that_is_cut_off_between_two_members_is_refused(
    shard: Shard, samples: Callable[..., Members], pictures: list[Picture]
) -> None:
    path = shard(samples(pictures))
    with tarfile.open(path) as archive:
        third = archive.getmembers()[4].offset
    path.write_bytes(path.read_bytes()[:third])
    with pytest.raises(BrokenArchive, match=f"cut off at byte {third:,}"):
        read_dataset(path)


def test_a_broken_header_and_what_follows_the_end_mark_are_refused(
    shard: Shard, samples: Callable[..., Members], pictures: list[Picture]
) -> None:
    path = shard(samples(pictures))
    whole = path.read_bytes()
    path.write_bytes(whole + whole)
    with pytest.raises(BrokenArchive, match="goes on after its end mark"):
        read_dataset(path)
    with tarfile.open(path) as archive:
        third = archive.getmembers()[4].offset
    path.write_bytes(whole[:third] + b"\xff" * 512 + whole[third + 512 :])
    with pytest.raises(BrokenArchive, match="no valid header"):
        read_dataset(path)


def test_a_compressed_archive_is_refused_with_the_remedy(tmp_path: Path, png: bytes) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("1.png"), io.BytesIO())
    with pytest.raises(BrokenArchive, match="uncompressed"):
        read_dataset(tmp_path / "a.tar")


def test_a_sample_has_one_file_of_an_extension_and_one_shard(
    shard: Shard, write_tar: Callable[..., Path], png: bytes, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"a/1\.png is in it twice"):
        read_dataset(shard({"a/1.png": png, "./a/1.png": png}))
    write_tar(tmp_path / "two" / "0.tar", {"1.png": png, "1.txt": b"one"})
    write_tar(tmp_path / "two" / "1.tar", {"1.jpg": png, "1.txt": b"one"})
    with pytest.raises(DatasetError, match=r"1\.tar: 1 is in 0\.tar as well"):
        read_dataset(tmp_path / "two")


def test_of_several_pictures_of_a_sample_the_extension_chooses(
    shard: Shard, pictures: list[Picture], png: bytes
) -> None:
    other = pictures[3][1]
    path = shard({"1.before.png": png, "1.after.png": other, "1.txt": b"one"})
    with pytest.raises(DatasetError, match=r"2 pictures \(before\.png, after\.png\).*--image-column before\.png"):
        read_dataset(path)
    before, after = (read_dataset(path, Reading(image_column=f"{which}.png")) for which in ("before", "after"))
    assert before.entries[0].sha256 != after.entries[0].sha256
    with pytest.raises(UnknownColumn, match=r"no column 'aftr\.png'.*Did you mean after\.png"):
        read_dataset(path, Reading(image_column="aftr.png"))


def test_captions_in_json_are_found_by_their_key(shard: Shard, png: bytes) -> None:
    path = shard({"1.png": png, "1.txt": b"plain", "1.json": b'{"caption": "short", "long": "a long one"}'})
    captions = [read_dataset(path, Reading(caption_column=key)).captions for key in (None, "caption", "long")]
    assert captions == [("plain",), ("short",), ("a long one",)]
    with pytest.raises(UnknownColumn, match=r"it has caption, long\. Did you mean long"):
        read_dataset(path, Reading(caption_column="longer"))
    with pytest.raises(DatasetError, match="both caption and text"):
        read_dataset(shard({"1.png": png, "1.json": b'{"caption": "a", "text": "b"}'}))


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"1.txt": b"one"}, "1 (no picture)"),
        ({"1.png": b""}, "1 (no .txt or .json)"),
        ({"1.png": b"", "1.txt": b"gr\xfcn"}, "1 (its .txt is not UTF-8 at byte 2)"),
        ({"1.png": b"", "1.txt": b"x" * (1024**2 + 1)}, "1 (its .txt has more than 1,048,576 bytes)"),
        ({"1.png": b"", "1.json": b"{"}, "1 (its .json does not parse"),
        ({"1.png": b"", "1.json": b"[]"}, "1 (its .json is no object)"),
        ({"1.png": b"", "1.json": b'{"caption": 3}'}, "1 (caption is 3, not a string)"),
    ],
)
def test_a_sample_without_a_caption_or_a_picture_is_named_with_the_reason(
    shard: Shard, samples: Callable[..., Members], pictures: list[Picture], members: Members, reason: str
) -> None:
    with pytest.raises(MissingCaptions) as caught:
        read_dataset(shard({**samples(pictures), **members}))
    (problem,) = caught.value.problems
    assert problem.startswith(f"birds.tar/{reason}")


def test_a_picture_that_claims_more_bytes_than_any_has_is_corrupt_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("1.txt"), io.BytesIO())
        member = tarfile.TarInfo("1.png")
        member.size = 300 * 1024**2
    with path.open("r+b") as stream:  # a hole, which takes no room on the disk
        stream.seek(512)
        stream.write(member.tobuf())
        stream.truncate(512 * 2 + member.size + 1024)
    with pytest.raises(CorruptPictures, match=r"314,572,800 bytes, at most 268,435,456"):
        read_dataset(path)

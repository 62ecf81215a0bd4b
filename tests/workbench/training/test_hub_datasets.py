"""Data sets of the Hub, through the real client, from a server of the tests' own."""

import io
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from distill_jobs import DatasetError, Reading, read_dataset
from workbench.errors import DownloadFailed, InvalidAddress, NotThere
from workbench.training.datasets import check_dataset, locate, open_dataset
from workbench.training.hub_datasets import parse_dataset_address

REPO = "someone/birds"


def packed(colour: str, format: str = "PNG") -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), colour).save(stream, format)
    return stream.getvalue()


def table(*colours: str) -> bytes:
    """A parquet file of pictures that are called and captioned by their colours."""
    images = [{"bytes": packed(colour), "path": f"{colour}.png"} for colour in colours]
    stream = io.BytesIO()
    pq.write_table(pa.table({"image": images, "text": [f"a {colour} bird" for colour in colours]}), stream)
    return stream.getvalue()


def shard(*colours: str) -> bytes:
    """The same as a tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for colour in colours:
            for name, contents in ((f"{colour}.png", packed(colour)), (f"{colour}.txt", f"a {colour} bird".encode())):
                member = tarfile.TarInfo(name)
                member.size = len(contents)
                archive.addfile(member, io.BytesIO(contents))
    return stream.getvalue()


def loose(*colours: str) -> dict[str, bytes]:
    """The same as files."""
    pictures = {f"{colour}.png": packed(colour) for colour in colours}
    return pictures | {f"{colour}.txt": f"a {colour} bird".encode() for colour in colours}


@pytest.fixture
def read(hub: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """read(address, reading=None) opens a data set of the test's server."""
    from huggingface_hub import close_session

    yield partial(open_dataset, endpoint=hub.url, cache=tmp_path / "hub-cache")
    close_session()


def test_folder_parquet_and_shards_of_the_hub_are_one_data_set_pinned_to_its_commit(
    read: Any, hub: Any, tmp_path: Path
) -> None:
    colours = ("red", "green", "blue")
    for name, contents in loose(*colours).items():
        (tmp_path / name).write_bytes(contents)
    local = read_dataset(tmp_path)
    contents = ({"data/1.parquet": table(*colours)}, {"a-0.tar": shard(*colours)}, loose(*colours))
    for kind, files in zip(("parquet", "webdataset", "folder"), contents, strict=True):
        commit = hub.push(REPO, {**files, "README.md": b"card", "birds.py": b"import os", ".gitattributes": b""})
        dataset = read(f"hf://datasets/{REPO}")
        assert (dataset.kind, dataset.title, dataset.uri) == (kind, "birds", f"hf://datasets/{REPO}")
        assert (dataset.revision, dataset.fingerprint) == (commit, local.fingerprint)
    assert not [line for line in hub.asked if line.endswith((".py", ".md", ".gitattributes"))]


def test_a_job_is_told_the_commit_and_reads_it_again_after_the_branch_moved(
    read: Any, hub: Any, tmp_path: Path
) -> None:
    before = hub.push(REPO, {"a.parquet": table("red", "green")})
    pinned = locate(f"hf://datasets/{REPO}", endpoint=hub.url, cache=tmp_path / "hub-cache").pinned
    assert pinned == f"hf://datasets/{REPO}@{before}"
    hub.push(REPO, {"a.parquet": table("blue")})
    assert read(pinned).captions == ("a green bird", "a red bird")
    assert read(f"hf://datasets/{REPO}").captions == ("a blue bird",)
    hub.asked.clear()
    assert read(pinned).revision == before
    assert not [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]


def test_a_path_chooses_a_folder_a_file_or_the_files_of_a_pattern_and_nothing_else_is_downloaded(
    read: Any, hub: Any
) -> None:
    files = {
        "data/train-00000-of-00002.parquet": table("red"),
        "data/train-00001-of-00002.parquet": table("green"),
        "data/test-00000-of-00001.parquet": table("blue"),
        **{f"examples/{name}": contents for name, contents in loose("black", "white").items()},
    }
    commit = hub.push(REPO, files)
    address = f"hf://datasets/{REPO}"
    assert read(f"{address}/data/train-*.parquet").captions == ("a green bird", "a red bird")
    assert read(f"{address}/**/train-0000{{0,1}}-*.parquet").captions == ("a green bird", "a red bird")
    assert not [line for line in hub.asked if "test-" in line and "/resolve/" in line]
    assert read(f"{address}@{commit}/data/test-00000-of-00001.parquet").captions == ("a blue bird",)
    examples = read(f"{address}/examples")
    assert (examples.captions, examples.uri) == (("a black bird", "a white bird"), f"{address}/examples")
    with pytest.raises(DatasetError, match=rf"{address}/data: holds the splits test, train; .*/data/test-?\*\.parquet"):
        read(f"{address}/data")
    with pytest.raises(DatasetError, match="2 files of the kind folder, 3 files of the kind parquet"):
        read(address)
    with pytest.raises(DatasetError, match="no pictures to train on"):
        read(f"{address}/missing")


def test_the_card_says_the_licence(read: Any, hub: Any) -> None:
    hub.push(REPO, loose("red"))
    hub.cards[REPO] = {"license": "cc0-1.0"}
    assert read(f"hf://datasets/{REPO}").license == "cc0-1.0"
    hub.cards[REPO] = {"license": ["cc0-1.0", "mit"]}
    assert read(f"hf://datasets/{REPO}").license == "cc0-1.0, mit"


def test_bytes_that_are_not_what_the_hub_says_they_are_are_refused(read: Any, hub: Any) -> None:
    hub.push(REPO, {"a.parquet": table("red")})
    hub.corrupt.add("a.parquet")
    with pytest.raises(DownloadFailed, match=r"sha256 .* expected"):
        read(f"hf://datasets/{REPO}")


def test_corrupt_pictures_of_the_hub_are_refused_or_left_out(read: Any, hub: Any) -> None:
    hub.push(REPO, {**loose("red", "green"), "red.png": b"nothing"})
    with pytest.raises(DatasetError, match=r"1 corrupt picture: red\.png \(not a picture\)"):
        read(f"hf://datasets/{REPO}")
    assert read(f"hf://datasets/{REPO}", Reading(skip_corrupt=True)).left_out == ("red.png (not a picture)",)


def test_a_report_names_the_commit_the_licence_and_every_corrupt_picture(hub: Any, tmp_path: Path) -> None:
    commit = hub.push(REPO, {**loose("red", "green"), "red.png": b"nothing"})
    hub.cards[REPO] = {"license": "mit"}
    report = check_dataset(f"hf://datasets/{REPO}", endpoint=hub.url, cache=tmp_path)
    assert (report.revision, report.license, report.pictures, report.ok) == (commit, "mit", 1, False)
    assert report.corrupt == ("red.png (not a picture)",)


def test_what_the_hub_does_not_know_is_not_there(read: Any, hub: Any) -> None:
    with pytest.raises(NotThere):
        read("hf://datasets/nobody/nothing")
    hub.push(REPO, loose("red"))
    with pytest.raises(NotThere, match="at v2"):
        read(f"hf://datasets/{REPO}@v2")


@pytest.mark.parametrize(
    "text",
    [
        "hf://datasets/birds",
        "hf://someone/birds",
        "hf://datasets/a/b@",
        "hf://datasets/a/b/../c",
        "hf://datasets/a/b//c",
        "hf://datasets/a/b/",
    ],
)
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidAddress, match="hf://datasets/OWNER/NAME"):
        parse_dataset_address(text)

"""Parquet: which columns are read, how pictures get their names, and what cannot be read."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from distill_jobs.data.dataset import dataset_of, read_dataset, survey
from distill_jobs.data.reading import Reading
from distill_jobs.data.tables import Tables
from distill_jobs.errors import BrokenArchive, CorruptPictures, DatasetError, MissingCaptions, UnknownColumn

Picture = tuple[str, bytes, str]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(column=values, ...): a parquet file of these columns."""

    def write(**columns: Any) -> Path:
        pq.write_table(pa.table(columns), tmp_path / "birds.parquet", row_group_size=3)
        return tmp_path / "birds.parquet"

    return write


Write = Callable[..., Path]


@pytest.fixture
def packed(pictures: list[Picture]) -> list[bytes]:
    """The bytes of seven pictures."""
    return [contents for _, contents, _ in pictures]


@pytest.fixture
def said(pictures: list[Picture]) -> list[str]:
    """Their captions."""
    return [caption for _, _, caption in pictures]


@pytest.mark.parametrize("type", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.binary())])])
@pytest.mark.parametrize("text", [pa.string(), pa.large_string()])
def test_pictures_are_bytes_or_structs_and_captions_are_text_of_either_size(
    write: Write, packed: list[bytes], said: list[str], type: pa.DataType, text: pa.DataType
) -> None:
    pictures = [{"bytes": contents} for contents in packed] if pa.types.is_struct(type) else packed
    dataset = read_dataset(write(img=pa.array(pictures, type), words=pa.array(said, text), width=list(range(7))))
    assert sorted(dataset.captions) == sorted(said)


def test_without_names_pictures_are_called_by_their_content_in_whatever_order_they_come(
    write: Write, packed: list[bytes], said: list[str]
) -> None:
    pictures, captions = [*packed, packed[0], packed[0]], [*said, "again", "and again"]
    first = read_dataset(write(image=pictures, text=captions))
    pixels = first.pixels(0, 99, (8, 8))
    second = read_dataset(write(image=pictures[::-1], text=captions[::-1]))
    assert (first.entries, first.fingerprint) == (second.entries, second.fingerprint)
    assert torch.equal(second.pixels(0, 99, (8, 8)), pixels)
    assert all(entry.sha256.startswith(entry.name[:32]) for entry in first.entries)
    same = [entry for entry in first.entries if entry.sha256 == hashlib.sha256(packed[0]).hexdigest()]
    assert [(entry.caption, entry.name[32:]) for entry in same] == [("again", ""), ("and again", "-2"), (said[0], "-3")]


def test_names_that_are_not_each_pictures_own_are_not_used(write: Write, packed: list[bytes], said: list[str]) -> None:
    rows = [{"bytes": contents, "path": "image.jpg"} for contents in packed]
    plain = read_dataset(write(image=packed, text=said))
    assert read_dataset(write(image=rows, text=said)).fingerprint == plain.fingerprint


def test_columns_are_chosen_by_name_and_the_choice_matters(write: Write, packed: list[bytes], said: list[str]) -> None:
    path = write(image=packed, mask=packed[::-1], text=said, blurb=[f"long {caption}" for caption in said])
    with pytest.raises(UnknownColumn, match=r"2 columns may be the image: image, mask.*--image-column NAME"):
        read_dataset(path)
    chosen = [
        read_dataset(path, Reading(image_column=image, caption_column=caption)).fingerprint
        for image in ("image", "mask")
        for caption in ("text", "blurb")
    ]
    assert len(set(chosen)) == 4
    assert read_dataset(path, Reading(image_column="mask")).fingerprint == chosen[2]


def test_a_missing_column_says_which_there_are_and_the_nearest(
    write: Write, packed: list[bytes], said: list[str]
) -> None:
    path = write(picture=packed, blurb=said, summary=said, width=list(range(7)))
    with pytest.raises(UnknownColumn, match=r"no column 'blurbs'; it has picture, blurb, .*Did you mean blurb\?"):
        read_dataset(path, Reading(caption_column="blurbs"))
    with pytest.raises(UnknownColumn, match=r"'width' is int64, not text; it has picture \(binary\), blurb \(string\)"):
        read_dataset(path, Reading(caption_column="width"))
    with pytest.raises(UnknownColumn, match=r"'blurb' is string, not pictures' bytes"):
        read_dataset(path, Reading(image_column="blurb"))
    with pytest.raises(UnknownColumn, match="2 columns may be the caption: blurb, summary"):
        read_dataset(path)
    with pytest.raises(UnknownColumn, match="no column for the caption"):
        read_dataset(write(picture=packed))
    with pytest.raises(UnknownColumn, match=r"no column for the image; it has text \(string\)"):
        read_dataset(write(text=said))


def test_rows_without_a_picture_or_a_caption_are_named(write: Write, packed: list[bytes], said: list[str]) -> None:
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"gr\xfcn"))
    texts = pa.chunked_array([pa.array([*said[:4], None, "x" * (1024**2 + 1)], pa.string()), bad])
    rows = [{"bytes": contents, "path": f"{i}.png"} for i, contents in enumerate(packed)]
    rows[1]["bytes"] = None
    with pytest.raises(MissingCaptions) as caught:
        read_dataset(write(image=rows, text=texts))
    assert caught.value.problems == (
        "birds.parquet row 1 (no bytes in image)",
        "birds.parquet row 4 (no caption)",
        "birds.parquet row 5 (its caption has more than 1,048,576 bytes)",
        "birds.parquet row 6 (its caption is not UTF-8 at byte 2)",
    )


def test_a_corrupt_picture_is_named_by_its_row(write: Write, packed: list[bytes], said: list[str]) -> None:
    with pytest.raises(CorruptPictures, match=r"birds\.parquet row 5 \(not a picture\)"):
        read_dataset(write(image=[*packed[:5], b"nothing", packed[6]], text=said))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(write: Write, packed: list[bytes], said: list[str], share: float) -> None:
    path = write(image=packed, text=said)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BrokenArchive, match="copy or write it again"):
        read_dataset(path)


def test_a_file_with_a_damaged_page_is_refused(write: Write, packed: list[bytes], said: list[str]) -> None:
    path = write(image=packed, text=said)
    chunk = pq.ParquetFile(path).metadata.row_group(1).column(0)
    whole = bytearray(path.read_bytes())
    first = chunk.dictionary_page_offset or chunk.data_page_offset
    whole[first : first + 64] = b"\xff" * 64
    path.write_bytes(whole)
    with pytest.raises(BrokenArchive, match="copy or write it again"):
        read_dataset(path)


def test_a_row_group_too_large_to_read_one_picture_of_is_refused(
    write: Write, packed: list[bytes], said: list[str]
) -> None:
    path = write(image=packed, text=said)
    largest = max(sum(map(len, packed[start : start + 3])) for start in (0, 3, 6))
    fits, is_larger = (Tables([path], Reading(), "birds", "", largest_group=limit) for limit in (largest, largest - 1))
    assert torch.equal(dataset_of(fits, survey(fits)).pixels(0, 7, (8, 8)), read_dataset(path).pixels(0, 7, (8, 8)))
    with pytest.raises(DatasetError, match=r"row group \d holds more than .* write it again with row_group_size=100"):
        survey(is_larger)

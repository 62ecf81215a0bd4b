"""A data folder is read whole or refused with everything that is wrong with it."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from distill_jobs.data.dataset import read_dataset
from distill_jobs.data.reading import Reading
from distill_jobs.errors import CorruptPictures, DatasetError, EmptyDataset, MissingCaptions, UnknownColumn


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i, colour in enumerate(("red", "green", "blue")):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{i}.png")
    _caption(tmp_path, {"0.png": "red", "1.png": "green", "2.png": "blue"})
    return tmp_path


def test_captions_come_from_metadata_in_the_order_of_file_names(folder: Path) -> None:
    _caption(folder, {"2.png": "blue", "0.png": "red", "1.png": "green"})
    dataset = read_dataset(folder)
    assert [entry.name for entry in dataset.entries] == ["0.png", "1.png", "2.png"]
    assert dataset.captions == ("red", "green", "blue")


def test_captions_come_from_text_files_where_there_is_no_metadata(folder: Path) -> None:
    (folder / "metadata.jsonl").unlink()
    for i, caption in enumerate(("red", "green", "blue")):
        (folder / f"{i}.txt").write_text(caption + "\n")
    assert read_dataset(folder).captions == ("red", "green", "blue")


def test_pixels_are_scaled_cropped_and_in_minus_one_to_one(folder: Path) -> None:
    Image.new("RGB", (20, 10), "white").save(folder / "0.png")
    pixels = read_dataset(folder).pixels(0, 2, (6, 4))
    assert pixels.shape == (2, 3, 6, 4)
    assert pixels.dtype == torch.float32
    assert pixels[0].unique().tolist() == [1.0]
    assert pixels[1].amin().item() == -1.0


def test_the_fingerprint_depends_on_names_contents_and_captions_alone(folder: Path, tmp_path: Path) -> None:
    first = read_dataset(folder).fingerprint
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    assert read_dataset(copy).fingerprint == first
    _caption(copy, {"0.png": "crimson", "1.png": "green", "2.png": "blue"})
    recaptioned = read_dataset(copy).fingerprint
    Image.new("RGB", (8, 8), "black").save(copy / "0.png")
    assert len({first, recaptioned, read_dataset(copy).fingerprint}) == 3


def test_every_corrupt_picture_is_named_and_counted(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"not a picture")
    whole = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptPictures, match=r"2 corrupt pictures: 0\.png \(not a picture\); 2\.png") as caught:
        read_dataset(folder)
    assert len(caught.value.problems) == 2


def test_pictures_without_captions_and_captions_without_pictures_are_named(folder: Path) -> None:
    _caption(folder, {"0.png": "red", "9.png": "gone"})
    with pytest.raises(MissingCaptions, match=r"9\.png \(listed in metadata\.jsonl:2, no such file\)") as caught:
        read_dataset(folder)
    assert len(caught.value.problems) == 3


def test_a_picture_without_its_text_file_is_named(folder: Path) -> None:
    (folder / "metadata.jsonl").unlink()
    (folder / "0.txt").write_text("red")
    (folder / "1.txt").write_text("green")
    with pytest.raises(MissingCaptions, match=r"1 entry .*2\.png \(no 2\.txt\)"):
        read_dataset(folder)


def test_a_long_list_of_problems_is_shortened_but_counted(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(b"")
        (tmp_path / f"{i}.txt").write_text("nothing")
    with pytest.raises(CorruptPictures, match=r"9 corrupt pictures.*and 4 more"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"file_name": "0.png"}', '{"file_name": "0.png", "text": 3}', '{"file_name": "../0.png", "text": ""}'],
)
def test_a_malformed_line_of_metadata_is_shown_with_its_place(folder: Path, line: str) -> None:
    (folder / "metadata.jsonl").write_text(f'{{"file_name": "1.png", "text": "green"}}\n{line}\n')
    with pytest.raises(DatasetError, match=r"metadata\.jsonl:2: "):
        read_dataset(folder)


def test_a_picture_listed_twice_is_refused(folder: Path) -> None:
    row = '{"file_name": "1.png", "text": "green"}\n'
    (folder / "metadata.jsonl").write_text(row * 2)
    with pytest.raises(DatasetError, match=r"1\.png is listed twice"):
        read_dataset(folder)


def test_a_folder_without_pictures_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyDataset, match="no pictures to train on"):
        read_dataset(tmp_path)
    with pytest.raises(DatasetError, match="not a folder"):
        read_dataset(tmp_path / "nowhere")


def _caption(folder: Path, captions: dict[str, str]) -> None:
    rows = [json.dumps({"file_name": name, "text": text}) for name, text in captions.items()]
    (folder / "metadata.jsonl").write_text("\n".join(rows) + "\n")


def test_a_caption_that_is_not_utf8_is_named_and_a_byte_order_mark_is_no_part_of_one(folder: Path) -> None:
    (folder / "metadata.jsonl").unlink()
    (folder / "0.txt").write_bytes(b"gr\xfcn")
    (folder / "1.txt").write_bytes(b"\xef\xbb\xbfgreen")
    (folder / "2.txt").write_text("x" * (1024**2 + 1))
    with pytest.raises(MissingCaptions) as caught:
        read_dataset(folder)
    assert caught.value.problems == (
        "0.png (0.txt is not UTF-8 at byte 2)",
        "2.png (2.txt has more than 1,048,576 bytes)",
    )
    for name in ("0.txt", "2.txt"):
        (folder / name).write_text("red")
    assert read_dataset(folder).captions == ("red", "green", "red")
    (folder / "metadata.jsonl").write_bytes(b'{"file_name": "0.png", "text": "gr\xfcn"}')
    with pytest.raises(DatasetError, match=r"metadata\.jsonl: not UTF-8 at byte 34"):
        read_dataset(folder)


def test_the_captions_key_of_metadata_can_be_named(folder: Path) -> None:
    rows = [json.dumps({"file_name": f"{i}.png", "text": "short", "blurb": "long"}) for i in range(3)]
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    assert read_dataset(folder).captions == ("short",) * 3
    assert read_dataset(folder, Reading(caption_column="blurb")).captions == ("long",) * 3
    with pytest.raises(UnknownColumn, match=r"jsonl:1: no column 'blurbs'; it has text, blurb\. Did you mean blurb"):
        read_dataset(folder, Reading(caption_column="blurbs"))


def test_columns_are_refused_where_there_are_none(folder: Path) -> None:
    with pytest.raises(DatasetError, match="--image-column image: pictures in a folder have no columns"):
        read_dataset(folder, Reading(image_column="image"))
    (folder / "metadata.jsonl").unlink()
    with pytest.raises(DatasetError, match=r"--caption-column text: there is no metadata\.jsonl"):
        read_dataset(folder, Reading(caption_column="text"))


def test_an_unknown_way_of_reading_is_refused() -> None:
    with pytest.raises(ValidationError, match="skip_corupt"):
        Reading(skip_corupt=True)  # type: ignore[call-arg]

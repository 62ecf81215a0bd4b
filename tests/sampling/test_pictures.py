"""Picture records: what goes in comes out, the picture's pixels stay, and no empty or wrong hash gets in."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngInfo

from sampling import SOLVERS, paint, read_png, read_record, save_png, save_sheet
from sampling.errors import NoRecord, RecordRefused
from sampling.pictures import SAMPLERS, parameters_text

DIGEST = "0123456789abcdef" * 4
RECORD = {
    "prompt": "a large red circle on a white background",
    "seed": 2**40,
    "solver": "lcm",
    "steps": 4,
    "guidance": 1.0,
    "recipe": "0.8*papercut + lcm-sd15",
    "locked": f"0.8*sha256:{DIGEST} + sha256:{DIGEST}",
    "base": {"name": "shapes", "sha256": DIGEST},
    "inputs": [{"name": "papercut", "sha256": DIGEST, "tensor_hash": DIGEST}],
}


@pytest.fixture
def picture():
    return Image.effect_noise((64, 48), 60).convert("RGB").filter(ImageFilter.SMOOTH)


def test_a_record_and_the_pixels_come_back(picture, tmp_path):
    save_png(picture, tmp_path / "a.png", RECORD)
    assert read_png(tmp_path / "a.png") == RECORD
    with Image.open(tmp_path / "a.png") as image:
        assert image.tobytes() == picture.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@settings(deadline=None, derandomize=True)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_any_prompt_comes_back(tmp_path_factory, prompt):
    path = tmp_path_factory.mktemp("prompt") / "a.png"
    save_png(Image.new("RGB", (2, 2)), path, {**RECORD, "prompt": prompt})
    assert read_png(path)["prompt"] == prompt


def test_a_paintings_own_record_is_enough(base, tmp_path):
    painting = paint(base, ["a", "b"], solver="tcd", steps=1, guidance=1.0, seeds=[3, 4], eta=0.2)
    save_png(painting.images[1], tmp_path / "b.png", painting.record(1))
    record = {key: value for key, value in read_png(tmp_path / "b.png").items() if key != "machine"}
    assert record == {
        "prompt": "b",
        "seed": 4,
        "solver": "tcd",
        "steps": 1,
        "guidance": 1.0,
        "spacing": "trailing",
        "eta": 0.2,
        "versions": painting.settings["versions"],
    }
    again = paint(
        base, [record.pop("prompt")], seeds=[record.pop("seed")], **{k: v for k, v in record.items() if k != "versions"}
    )
    assert again.images[0].tobytes() == painting.images[1].tobytes()


def test_other_tools_read_the_parameters(picture, tmp_path):
    save_png(picture, tmp_path / "a.png", RECORD)
    with Image.open(tmp_path / "a.png") as image:
        prompt, settings = image.info["parameters"].split("\n")
    assert prompt == RECORD["prompt"]
    assert settings == (
        f"Steps: 4, Sampler: LCM, CFG scale: 1, Seed: {2**40}, Size: 64x48, Model: shapes, "
        f'Model hash: {DIGEST[:10]}, Tauworks recipe: "0.8*papercut + lcm-sd15"'
    )


def test_parameters_leave_out_what_the_record_does_not_say():
    few = {key: RECORD[key] for key in ("prompt", "seed", "solver", "steps", "guidance")}
    assert parameters_text(few, (64, 64)).endswith("Size: 64x64")
    assert parameters_text({**few, "base": "shapes:1"}, (64, 64)).endswith("Model: shapes:1")


def test_every_solver_has_a_sampler_name():
    assert list(SAMPLERS) == list(SOLVERS)


@pytest.mark.parametrize("key", ["prompt", "seed", "solver", "steps", "guidance"])
def test_a_record_that_cannot_repaint_is_refused(picture, tmp_path, key):
    with pytest.raises(RecordRefused, match=f"lacks {key}; without"):
        save_png(picture, tmp_path / "a.png", {**RECORD, key: None})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", ["", None, "0123", DIGEST.upper(), f"{DIGEST[:-1]}g", DIGEST + "0", 7])
@pytest.mark.parametrize("place", ["base.sha256", "inputs.0.tensor_hash"])
def test_an_empty_or_wrong_hash_is_refused(picture, tmp_path, place, wrong):
    record = json.loads(json.dumps(RECORD))
    if place.startswith("base"):
        record["base"]["sha256"] = wrong
    else:
        record["inputs"][0]["tensor_hash"] = wrong
    with pytest.raises(RecordRefused, match=f"{place}: expected 64 hexadecimal digits, got"):
        save_png(picture, tmp_path / "a.png", record)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [math.nan, object()])
def test_what_json_cannot_hold_is_refused(picture, tmp_path, value):
    with pytest.raises(RecordRefused, match="JSON cannot hold"):
        save_png(picture, tmp_path / "a.png", {**RECORD, "extra": value})


def test_a_picture_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="cannot write mode HSV"):
        save_png(Image.new("HSV", (2, 2)), tmp_path / "a.png", RECORD)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_a_record_is_named(picture, tmp_path):
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_text("no picture")
    for name, message in {"a.png": "carries no", "a.jpg": "carries no", "b.png": "not a picture"}.items():
        with pytest.raises(NoRecord, match=message):
            read_png(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_png(tmp_path / "missing.png")


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({**RECORD, "base": {"sha256": ""}})])
def test_a_damaged_record_is_refused(picture, tmp_path, text):
    metadata = PngInfo()
    metadata.add_text("tauworks", text)
    picture.save(tmp_path / "a.png", pnginfo=metadata)
    with pytest.raises(RecordRefused):
        read_png(tmp_path / "a.png")


def test_a_sheet_carries_what_all_its_pictures_are_and_is_no_single_picture(picture, tmp_path):
    record = {"grid": {"x": "seed=1,2"}, "pictures": {"a": DIGEST}}
    save_sheet(picture, tmp_path / "sheet.png", record)
    assert read_record(tmp_path / "sheet.png") == record
    with pytest.raises(RecordRefused, match="lacks prompt"):
        read_png(tmp_path / "sheet.png")
    with pytest.raises(RecordRefused, match="64 hexadecimal digits"):
        save_sheet(picture, tmp_path / "sheet.png", {"cells": [{"sha256": "x"}]})

"""The judge: every head is read in its own words, whatever the batch, and another folder is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from demo.training.networks import JUDGE_HEADS
from sampling import load_judge
from sampling.errors import JudgeUnreadable


@pytest.fixture(scope="module")
def judge(base_folder):
    return load_judge(base_folder)


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)) for _ in range(5)]


def test_a_base_and_the_judges_own_folder_open_the_same_judge(base_folder, judge):
    assert judge.heads == JUDGE_HEADS
    assert load_judge(base_folder / "judge").heads == JUDGE_HEADS
    assert not judge.network.training


def test_a_reading_names_the_likeliest_value_of_each_head(judge, pictures):
    readings = judge.read(pictures)
    pixels = np.stack([np.asarray(picture, dtype=np.float64) for picture in pictures]).transpose(0, 3, 1, 2)
    with torch.no_grad():
        logits = judge.network(torch.from_numpy(pixels / 127.5 - 1).float()).logits
    for reading, row in zip(readings, logits.tolist(), strict=True):
        scored = dict(zip(judge.network.config.id2label.values(), row, strict=True))
        for head, value in reading.items():
            assert scored[f"{head}={value}"] == max(s for label, s in scored.items() if label.startswith(f"{head}="))


def test_readings_do_not_depend_on_the_batch(judge, pictures):
    assert judge.read(pictures, batch=2) == judge.read(pictures)
    assert judge.read([]) == []


def test_what_the_network_sees_decides_the_reading(judge):
    """With one logit pushed up by its bias, every picture is read so."""
    gray = Image.new("RGB", (64, 64), "gray")
    for head, values in JUDGE_HEADS.items():
        label = judge.network.config.label2id[f"{head}={values[-1]}"]
        bias = judge.network.classifier[-1].bias
        kept = bias.data.clone()
        bias.data[label] += 100
        try:
            assert judge.read([gray])[0][head] == values[-1]
        finally:
            bias.data.copy_(kept)


def test_a_folder_without_a_classifier_is_refused(tmp_path, base_folder):
    with pytest.raises(JudgeUnreadable, match="cannot open it as a ResNet classifier"):
        load_judge(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({0: "red"}, "label 'red': expected head=value"),
        ({0: "colour="}, "label 'colour=': expected head=value"),
        ({1: "style=stripes"}, "the labels of head .* do not stand together"),
    ],
)
def test_labels_that_name_no_head_are_refused(tmp_path, base_folder, labels, message):
    folder = shutil.copytree(base_folder / "judge", tmp_path / "judge")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"].update({str(i): label for i, label in labels.items()})
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(JudgeUnreadable, match=message):
        load_judge(folder)

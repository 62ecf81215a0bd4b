"""Laws of the shapes world's captions."""

import numpy as np
import pytest

from demo import all_attributes, caption, parse_caption
from demo.captions import corrupt


def test_there_are_144_different_captions() -> None:
    assert len({caption(attributes) for attributes in all_attributes()}) == 144


def test_a_caption_reads_as_the_readme_says() -> None:
    attributes = next(a for a in all_attributes() if tuple(a) == ("large", "red", "circle", "white"))
    assert caption(attributes) == "a large red circle on a white background"


@pytest.mark.parametrize("attributes", all_attributes()[::13], ids=caption)
def test_parsing_undoes_captioning(attributes) -> None:
    assert parse_caption(caption(attributes)) == attributes


@pytest.mark.parametrize("text", ["", "a large red circle", "the large red circle on a white background"])
def test_a_foreign_caption_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a caption of the shapes world"):
        parse_caption(text)


def test_corruption_has_the_stated_shares() -> None:
    truth = [caption(all_attributes()[0])] * 40_000
    noisy = corrupt(truth, np.random.default_rng(0), wrong=0.4, empty=0.1)
    empty = sum(text == "" for text in noisy) / len(noisy)
    right = sum(text == truth[0] for text in noisy) / len(noisy)
    assert empty == pytest.approx(0.1, abs=0.01)
    assert right == pytest.approx(0.9 * (0.6 + 0.4 / 144), abs=0.01)

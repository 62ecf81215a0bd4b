"""What a training tells the U-Net is what the base's own pipeline tells it, told the true sizes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from distill_jobs.bases.conditioning import (
    caption_rows,
    encoded,
    encoded_rows,
    middle_crop,
    time_ids,
    token_ids,
)
from distill_jobs.data.dataset import Dataset
from sampling.base import text_encoders

CAPTIONS = ["", "a large red circle on a white background", "a small blue cross"]


@torch.no_grad()
def test_stable_diffusion_is_told_the_last_hidden_state(base: StableDiffusionPipeline) -> None:
    expected, _ = base.encode_prompt(CAPTIONS, "cpu", 1, False)
    told = encoded(base, token_ids(base, CAPTIONS))
    torch.testing.assert_close(told.text, expected, rtol=1e-6, atol=1e-6)
    assert told.pooled is told.time_ids is None


@torch.no_grad()
def test_sdxl_is_told_both_encoders_and_the_seconds_pooled_text(sdxl_base: StableDiffusionXLPipeline) -> None:
    text, _, pooled, _ = sdxl_base.encode_prompt(CAPTIONS, device="cpu", do_classifier_free_guidance=False)
    told = encoded(sdxl_base, token_ids(sdxl_base, CAPTIONS))
    torch.testing.assert_close(told.text, text, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(told.pooled, pooled, rtol=1e-6, atol=1e-6)
    assert told.time_ids is None


def test_each_tokenizer_of_sdxl_pads_in_its_own_way(sdxl_base: StableDiffusionXLPipeline) -> None:
    first, second = token_ids(sdxl_base, ["a"])
    assert torch.equal(first[:, :3], second[:, :3])
    assert not torch.equal(first[:, 3:], second[:, 3:])


@pytest.mark.parametrize("name", ["base", "sdxl_base"])
@torch.no_grad()
def test_row_0_is_what_the_pipeline_guides_away_from(name: str, request: pytest.FixtureRequest) -> None:
    pipe = request.getfixturevalue(name)
    rows = encoded_rows(pipe, token_ids(pipe, CAPTIONS), torch.tensor([1, 0, 2, 0]))
    expected = pipe.encode_prompt(["a"], device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True)
    torch.testing.assert_close(rows.text[1:2], expected[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(rows.text[3], rows.text[1])
    if rows.pooled is not None:
        torch.testing.assert_close(rows.pooled[1:2], expected[3], rtol=1e-6, atol=1e-6)


def test_encoding_for_a_training_lets_gradients_reach_every_encoder(fresh_sdxl: StableDiffusionXLPipeline) -> None:
    for encoder in text_encoders(fresh_sdxl).values():
        encoder.requires_grad_(True)
    told = encoded_rows(fresh_sdxl, token_ids(fresh_sdxl, CAPTIONS), torch.tensor([1, 2]))
    (told.text.square().sum() + told.pooled.square().sum()).backward()
    for encoder in text_encoders(fresh_sdxl).values():
        assert encoder.get_input_embeddings().weight.grad.abs().max() > 0


def test_distinct_captions_stand_behind_what_is_guided_away_from(base: StableDiffusionPipeline) -> None:
    captions, rows = caption_rows(base, ["b", "a", "", "b"])
    assert captions == ("", "a", "b")
    assert rows.tolist() == [2, 1, 0, 2]


def test_an_empty_caption_of_the_data_stays_a_caption_where_zeros_stand_for_nothing(
    sdxl_base: StableDiffusionXLPipeline,
) -> None:
    captions, rows = caption_rows(sdxl_base, ["b", "a", "", "b"])
    assert captions == ("", "", "a", "b")
    assert rows.tolist() == [3, 2, 1, 3]
    with torch.no_grad():
        told = encoded_rows(sdxl_base, token_ids(sdxl_base, captions), torch.tensor([0, 1]))
    assert not told.text[0].any()
    assert told.text[1].any()


def test_a_pipeline_that_zeroes_nothing_shares_the_row_of_the_empty_caption(
    fresh_sdxl: StableDiffusionXLPipeline,
) -> None:
    fresh_sdxl.register_to_config(force_zeros_for_empty_prompt=False)
    assert caption_rows(fresh_sdxl, ["b", ""])[1].tolist() == [1, 0]
    with torch.no_grad():
        assert encoded_rows(fresh_sdxl, token_ids(fresh_sdxl, ["", "b"]), torch.tensor([0])).text.any()


@pytest.mark.parametrize(
    ("size", "target", "corner"),
    [
        ((64, 64), (64, 64), (0, 0)),
        ((64, 128), (64, 64), (0, 32)),
        ((300, 100), (64, 64), (64, 0)),
        ((32, 16), (64, 64), (32, 0)),
        ((90, 160), (64, 96), (0, 9)),
    ],
)
def test_the_corner_is_measured_after_scaling(
    size: tuple[int, int], target: tuple[int, int], corner: tuple[int, int]
) -> None:
    assert middle_crop(size, target) == corner


def test_sdxl_is_told_each_pictures_own_size(sdxl_base: StableDiffusionXLPipeline, dataset: Dataset) -> None:
    wide = replace(dataset.entries[1], size=(128, 64))
    ids = time_ids(sdxl_base, replace(dataset, entries=(dataset.entries[0], wide)), (64, 64))
    assert ids.tolist() == [[64, 64, 0, 0, 64, 64], [64, 128, 0, 32, 64, 64]]


def test_stable_diffusion_is_told_no_sizes(base: Any, dataset: Dataset) -> None:
    assert time_ids(base, dataset, (64, 64)) is None

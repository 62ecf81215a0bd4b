"""Conditions: rows are joined, chosen, repeated and zeroed part by part, and sizes are never zeroed."""

import torch

from sampling.conditioning import Condition, micro_condition


def made(rows: int, seed: int) -> Condition:
    generator = torch.Generator().manual_seed(seed)
    text, pooled = torch.randn(rows, 4, 6, generator=generator), torch.randn(rows, 5, generator=generator)
    return Condition(text, pooled, torch.randint(9, (rows, 6), generator=generator).float())


def test_rows_that_are_joined_and_taken_apart_again_are_the_same() -> None:
    first, second = made(2, 0), made(3, 1)
    both = first.followed_by(second)
    assert len(both) == 5
    for part, a, b in zip(both.parts, first.parts, second.parts, strict=True):
        assert torch.equal(part, torch.cat([a, b]))
    for again, part in zip(both.at(slice(2, None)).parts, second.parts, strict=True):
        assert torch.equal(again, part)


def test_a_row_is_repeated_without_a_copy() -> None:
    one = made(1, 0)
    many = one.repeated(7)
    assert len(many) == 7
    assert torch.equal(many.text[6], one.text[0])
    assert many.text.data_ptr() == one.text.data_ptr()


def test_zeroing_keeps_shapes_and_sizes() -> None:
    full = made(3, 0)
    blank = full.zeroed()
    assert [part.shape for part in blank.parts] == [part.shape for part in full.parts]
    assert not blank.text.any()
    assert not blank.pooled.any()
    assert torch.equal(blank.time_ids, full.time_ids)


def test_a_change_of_precision_leaves_sizes_exact() -> None:
    told = made(1, 0).with_time_ids(torch.tensor([[1001.0, 999, 0, 3, 1024, 1024]])).to("cpu", torch.bfloat16)
    assert told.text.dtype == told.pooled.dtype == torch.bfloat16
    assert told.time_ids.tolist() == [[1001, 999, 0, 3, 1024, 1024]]


def test_plain_stable_diffusion_is_told_text_alone() -> None:
    text = torch.zeros(2, 4, 6)
    assert list(Condition(text).arguments()) == ["encoder_hidden_states"]
    assert set(made(2, 0).arguments()["added_cond_kwargs"]) == {"text_embeds", "time_ids"}


def test_sizes_are_told_height_first() -> None:
    assert micro_condition((700, 900), (0, 64), (512, 640)) == (700, 900, 0, 64, 512, 640)

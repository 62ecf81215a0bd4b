"""What a U-Net is told of each picture: captions to tokens, tokens to a Condition, sizes and crops to time ids."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from distill_jobs.data.dataset import Dataset
from sampling.base import empty_prompt_is_zeros, is_sdxl, text_encoders
from sampling.conditioning import Condition, micro_condition

__all__ = ["Condition", "Tokens", "caption_rows", "encoded", "encoded_rows", "time_ids", "token_ids"]

Tokens = tuple[Tensor, ...]
"""(Q, L) int64 for each text encoder of a base."""


def token_ids(pipe: Any, captions: Sequence[str]) -> Tokens:
    """Captions padded and cut to each tokenizer's length, as the pipeline itself does."""
    tokenizers = (pipe.tokenizer, pipe.tokenizer_2) if is_sdxl(pipe) else (pipe.tokenizer,)
    return tuple(
        tokenizer(
            list(captions),
            padding="max_length",
            max_length=tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        for tokenizer in tokenizers
    )


def encoded(pipe: Any, tokens: Tokens) -> Condition:
    """What the base's text encoders make of `tokens`, a row each, differentiable; no time ids yet.

    Stable Diffusion: the last hidden state. SDXL: the last but one of both encoders side by side, and the second's
    projected text.
    """
    encoders = text_encoders(pipe).values()
    if not is_sdxl(pipe):
        (encoder,), (own,) = encoders, tokens
        return Condition(encoder(own.to(encoder.device))[0])
    outputs = [
        encoder(own.to(encoder.device), output_hidden_states=True)
        for encoder, own in zip(encoders, tokens, strict=True)
    ]
    return Condition(torch.cat([output.hidden_states[-2] for output in outputs], dim=-1), outputs[-1].text_embeds)


def encoded_rows(pipe: Any, tokens: Tokens, rows: Tensor) -> Condition:
    """What the text encoders, as they are now, make of `rows` (B,) of `tokens`, each distinct one encoded once.

    Row 0 is what the base's pipeline guides away from: the encoded empty caption, zeros on SDXL.
    """
    wanted, places = rows.unique(return_inverse=True)
    condition = encoded(pipe, tuple(own[wanted] for own in tokens)).at(places)
    if not empty_prompt_is_zeros(pipe):
        return condition
    blank = (rows == 0).to(condition.text.device)
    return Condition(
        condition.text.masked_fill(blank[:, None, None], 0), condition.pooled.masked_fill(blank[:, None], 0)
    )


def caption_rows(pipe: Any, captions: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
    """The distinct captions, sorted, behind "" in place 0, and the place (P,) int64 of each picture's caption.

    Place 0 is for what the base's pipeline guides away from: where that is zeros (SDXL), an empty caption of the data
    is a caption like any other and has a place of its own.
    """
    apart = empty_prompt_is_zeros(pipe)
    others = sorted(set(captions) - (set() if apart else {""}))
    place = {caption: i for i, caption in enumerate(others, start=1)}
    return ("", *others), torch.tensor([place.get(caption, 0) for caption in captions])


def time_ids(pipe: Any, dataset: Dataset, target: tuple[int, int]) -> Tensor | None:
    """SDXL's time ids (P, 6) float32 of pictures that are scaled and cropped in the middle to `target` (h, w).

    None for a base that is told no sizes.
    """
    if not is_sdxl(pipe):
        return None
    sizes = [(height, width) for width, height in (entry.size for entry in dataset.entries)]
    rows = [micro_condition(size, middle_crop(size, target), target) for size in sizes]
    return torch.tensor(rows, dtype=torch.float32)


def middle_crop(size: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The corner (top, left) of a crop to `target` from the middle of a picture scaled to just cover it."""
    scale = max(target[0] / size[0], target[1] / size[1])
    top, left = (round((scale * own - wanted) / 2) for own, wanted in zip(size, target, strict=True))
    return top, left

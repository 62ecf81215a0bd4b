"""Prompts to what the U-Net is told, each encoded once for a pipeline as long as its text encoders stay as they are."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from weakref import WeakKeyDictionary

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from sampling.base import Pipeline, empty_prompt_is_zeros, is_sdxl, picture_size, text_encoders
from sampling.conditioning import Condition, micro_condition
from sampling.placement import device_of

MOST_KEPT = 512
"""Prompts kept for one pipeline; at SD-1.5's 77 x 768 this is 120 MB, at SDXL's 77 x 2048 in half precision 160 MB."""

Row = tuple[Tensor, Tensor | None]
"""One prompt: text (tokens, width), and SDXL's pooled text (width,)."""


@dataclass
class _Kept:
    """Prompt -> its row, oldest first, all made with the text encoders in one `state`."""

    state: Hashable
    rows: dict[str, Row] = field(default_factory=dict)


_KEPT: WeakKeyDictionary[Pipeline, _Kept] = WeakKeyDictionary()


@torch.no_grad()
def embed(pipe: Pipeline, prompts: Sequence[str], size: tuple[int, int] | None = None) -> Condition:
    """What the U-Net is told of `prompts`, a row each, on the pipeline's device.

    SDXL also of whole pictures of (height, width) pixels, by default its own.
    """
    state = tuple(map(_state, text_encoders(pipe).values()))
    if pipe not in _KEPT or _KEPT[pipe].state != state:
        _KEPT[pipe] = _Kept(state)
    rows = _KEPT[pipe].rows
    if missing := [prompt for prompt in dict.fromkeys(prompts) if prompt not in rows]:
        rows.update(zip(missing, _encode(pipe, missing), strict=True))
    text, pooled = zip(*(rows[prompt] for prompt in prompts), strict=True)
    for prompt in list(islice(rows, max(0, len(rows) - MOST_KEPT))):
        del rows[prompt]
    if not is_sdxl(pipe):
        return Condition(torch.stack(text))
    return Condition(
        torch.stack(text), torch.stack(pooled), _whole_picture(pipe, len(prompts), size or picture_size(pipe))
    )


def unconditional(pipe: Pipeline, condition: Condition) -> Condition:
    """What guidance leads away from, a row for each of `condition`: the empty prompt, or zeros if the base says so."""
    if empty_prompt_is_zeros(pipe):
        return condition.zeroed()
    blank = embed(pipe, [""]).repeated(len(condition)).with_time_ids(condition.time_ids)
    return blank.to(condition.text.device, condition.text.dtype)


def forget(pipe: Pipeline) -> None:
    """Drop the embeddings kept for `pipe`: its text encoders got or lost a vector."""
    _KEPT.pop(pipe, None)


def _encode(pipe: Pipeline, prompts: list[str]) -> list[Row]:
    if not is_sdxl(pipe):
        embedded, _ = pipe.encode_prompt(prompts, device_of(pipe), 1, False)
        return [(row, None) for row in embedded.unbind()]
    embedded, _, pooled, _ = pipe.encode_prompt(
        prompts, device=device_of(pipe), num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    return list(zip(embedded.unbind(), pooled.unbind(), strict=True))


def _whole_picture(pipe: Pipeline, count: int, size: tuple[int, int]) -> Tensor:
    """Time ids (count, 6) of pictures of (height, width) pixels that nothing was cut from."""
    ids = torch.tensor([micro_condition(size, (0, 0), size)], dtype=pipe.text_encoder_2.dtype, device=device_of(pipe))
    return ids.expand(count, -1)


def _state(encoder: nn.Module) -> Hashable:
    """What an embedding depends on beside its prompt: the parameters' versions, the active adapters, their scales."""
    parameters = tuple((id(p), p.data_ptr(), p._version) for p in encoder.parameters())
    adapters = tuple(
        (layer.disable_adapters, tuple(layer.active_adapters), tuple(layer.scaling.items()))
        for layer in encoder.modules()
        if isinstance(layer, BaseTunerLayer)
    )
    return parameters, adapters

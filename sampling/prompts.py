"""Prompts to text embeddings, each encoded once for a pipeline as long as its text encoder stays as it is."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from weakref import WeakKeyDictionary

import torch
from diffusers import StableDiffusionPipeline
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

MOST_KEPT = 512
"""Prompts kept for one pipeline; at SD-1.5's 77 x 768 this is 120 MB."""


@dataclass
class _Kept:
    """Prompt -> embedding (tokens, width), oldest first, all made with the text encoder in one `state`."""

    state: Hashable
    rows: dict[str, Tensor] = field(default_factory=dict)


_KEPT: WeakKeyDictionary[StableDiffusionPipeline, _Kept] = WeakKeyDictionary()


@torch.no_grad()
def embed(pipe: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """The text embeddings of `prompts`: (len(prompts), tokens, width), on the pipeline's device."""
    state = _state(pipe.text_encoder)
    if pipe not in _KEPT or _KEPT[pipe].state != state:
        _KEPT[pipe] = _Kept(state)
    rows = _KEPT[pipe].rows
    if missing := [prompt for prompt in dict.fromkeys(prompts) if prompt not in rows]:
        embedded, _ = pipe.encode_prompt(missing, pipe.device, 1, False)
        rows.update(zip(missing, embedded.unbind(), strict=True))
    chosen = torch.stack([rows[prompt] for prompt in prompts])
    for prompt in list(islice(rows, max(0, len(rows) - MOST_KEPT))):
        del rows[prompt]
    return chosen


def forget(pipe: StableDiffusionPipeline) -> None:
    """Drop the embeddings kept for `pipe`: its text encoder got or lost a vector."""
    _KEPT.pop(pipe, None)


def _state(encoder: nn.Module) -> Hashable:
    """What an embedding depends on beside its prompt: the parameters' versions, the active adapters, their scales."""
    parameters = tuple((id(p), p.data_ptr(), p._version) for p in encoder.parameters())
    adapters = tuple(
        (layer.disable_adapters, tuple(layer.active_adapters), tuple(layer.scaling.items()))
        for layer in encoder.modules()
        if isinstance(layer, BaseTunerLayer)
    )
    return parameters, adapters

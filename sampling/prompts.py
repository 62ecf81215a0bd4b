"""Prompts to text embeddings, each encoded once for a pipeline and the strengths that its text encoder has."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from diffusers import StableDiffusionPipeline
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

_CACHES: WeakKeyDictionary[StableDiffusionPipeline, dict[tuple, Tensor]] = WeakKeyDictionary()
"""Pipeline -> (prompt, state of its text encoder) -> embedding (tokens, width)."""


def embed(pipe: StableDiffusionPipeline, prompts: Sequence[str]) -> Tensor:
    """The text embeddings of `prompts`: (len(prompts), tokens, width), on the pipeline's device."""
    cache, state = _CACHES.setdefault(pipe, {}), _state(pipe.text_encoder)
    missing = [prompt for prompt in dict.fromkeys(prompts) if (prompt, state) not in cache]
    if missing:
        with torch.no_grad():
            embedded, _ = pipe.encode_prompt(missing, pipe.device, 1, False)
        cache.update({(prompt, state): row for prompt, row in zip(missing, embedded, strict=True)})
    return torch.stack([cache[prompt, state] for prompt in prompts])


def forget(pipe: StableDiffusionPipeline) -> None:
    """Drop the embeddings kept for `pipe`: its text encoder got or lost a vector."""
    _CACHES.pop(pipe, None)


def _state(encoder: nn.Module) -> tuple:
    """What an embedding depends on beside the prompt: parameter versions, active adapters, their scales."""
    versions = tuple((id(parameter), parameter._version) for parameter in encoder.parameters())
    adapters = tuple(
        (layer.disable_adapters, tuple(layer.active_adapters), tuple(layer.scaling.items()))
        for layer in encoder.modules()
        if isinstance(layer, BaseTunerLayer)
    )
    return (*versions, *adapters)

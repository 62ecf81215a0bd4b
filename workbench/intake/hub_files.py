"""Which files of a repository make one model."""

import re
from collections.abc import Iterable, Iterator

SAFETENSORS = ".safetensors"
BASE_MARK = "unet/config.json"
BASE_INDEX = "model_index.json"
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")
DEFAULT_WEIGHTS = "pytorch_lora_weights.safetensors"
"""What diffusers loads from a repository when no file is named."""

CONFIGS = (".json", ".txt", ".model", ".jinja")
"""What belongs to a component of a base beside its weights: configurations and the tokenizer's tables."""

PLAIN_WEIGHTS = re.compile(r"[a-z_]+(-\d{5}-of-\d{5})?\.safetensors")
"""Weights that are no variant: model.safetensors and its shards, not model.fp16.safetensors."""


def choose_files(names: Iterable[str]) -> tuple[str, ...]:
    """The files of a repository that make one model; empty where none or several models are in it.

    A base is its index and its components, in full precision where it has that; a PEFT vector its two files; else the
    only safetensors file at the top, or the one that diffusers would load.
    """
    listed = sorted(names)
    if BASE_MARK in listed:
        return tuple(_base_files(listed))
    if set(PEFT_FILES) <= set(listed):
        return PEFT_FILES
    weights = [name for name in listed if name.endswith(SAFETENSORS) and "/" not in name]
    if DEFAULT_WEIGHTS in weights:
        return (DEFAULT_WEIGHTS,)
    return (weights[0],) if len(weights) == 1 else ()


def _base_files(listed: list[str]) -> Iterator[str]:
    if BASE_INDEX in listed:
        yield BASE_INDEX
    for component in sorted({name.split("/")[0] for name in listed if name.count("/") == 1}):
        inside = {name.split("/")[1] for name in listed if name.startswith(f"{component}/") and name.count("/") == 1}
        if any(name.endswith("config.json") for name in inside):
            yield from (f"{component}/{name}" for name in sorted(_component_files(inside)))


def _component_files(inside: set[str]) -> Iterator[str]:
    """The configurations of a component, and one set of its weights with the index of its shards."""
    yield from (name for name in inside if name.endswith(CONFIGS) and ".index." not in name)
    weights = sorted(name for name in inside if name.endswith(SAFETENSORS))
    plain = [name for name in weights if PLAIN_WEIGHTS.fullmatch(name)]
    if plain:
        yield from plain
        yield from (name for name in inside if name.endswith(f"{SAFETENSORS}.index.json"))
    elif weights:
        variant = weights[0].split(".")[1].split("-")[0]
        yield from (name for name in weights if f".{variant}" in name)
        yield from (name for name in inside if f"{SAFETENSORS}.index.{variant}" in name)

"""What stands beside a base's weights at run time: each term of a sum as low-rank factors, its lambda as a number."""

from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.errors import NotAttachable
from arithmetic.sources.combination import Combination, distinct_terms
from arithmetic.sources.source import Source
from formats import spec_of


@dataclass(frozen=True)
class Attachment:
    """One term of a sum under a name of its own: what is loaded once, and the strength that it stands at."""

    name: str
    strength: float
    source: Source


def attachments(combination: Combination) -> tuple[Attachment, ...]:
    """The terms of the outermost sum in their order, those of equal content once, none whose lambda is 0.

    A name that is taken gets its place: `soft`, `soft#3`.
    """
    found: dict[str, Attachment] = {}
    for place, (weight, source) in enumerate(distinct_terms(combination), start=1):
        name = source.name if source.name not in found else f"{source.name}#{place}"
        if weight:
            found[name] = Attachment(name, weight, source)
    return tuple(found.values())


def diffusers_state_dict(source: Source) -> dict[str, Tensor]:
    """The source in the keys that diffusers' `load_lora_weights` takes, in float32.

    The scale is folded into up (in float64, rounded once), so that alpha equals rank in every module and a loader that
    gets alphas wrong has none to read.

    Raises:
        NotAttachable: a module that is kept as a matrix, or a bias, a normalisation or an embedding.
        AlgebraError: as the source's `delta`.
    """
    _require_layers(source)
    state: dict[str, Tensor] = {}
    for module in source.modules:
        factors = source.delta(module).low_rank()
        if factors is None:
            raise _kept_as_matrix(source, module)
        state[f"{module}.lora_A.weight"] = factors.down.to(torch.float32, copy=True)
        state[f"{module}.lora_B.weight"] = (factors.up.to(torch.float64) * factors.scale).to(torch.float32)
    return state


def _require_layers(source: Source) -> None:
    """Raise before a tensor is read where the headers tell that a module has no place beside the base's weights."""
    for module, entry in source.modules.items():
        kind = spec_of(source.architecture, module).kind
        if kind in ("channel", "embedding"):
            what = "an embedding" if kind == "embedding" else "a bias or normalisation"
            raise NotAttachable(
                f"{source.name}: changes {module}, {what}, and only linear layers and convolutions can be changed "
                "beside the base's weights. Bake the recipe, and use the checkpoint."
            )
        if entry.rank is None:
            raise _kept_as_matrix(source, module)


def _kept_as_matrix(source: Source, module: str) -> NotAttachable:
    return NotAttachable(
        f"{source.name}: {module} is kept as a matrix, and only low-rank changes can stand beside the base's weights. "
        "Reduce it: (... | rank(64)), or bake the recipe."
    )

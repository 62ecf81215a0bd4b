"""What stands beside a base's weights at run time: the parts of a sum as low-rank factors, their lambdas as numbers."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from arithmetic.errors import NotAttachable
from arithmetic.sources.combination import Combination, inputs, leaves, reached_modules
from arithmetic.sources.source import Source
from formats import spec_of


@dataclass(frozen=True)
class Attachment:
    """What is loaded once under a name of its own, and the strength at which it stands in each of its modules."""

    name: str
    source: Source
    strengths: Mapping[str, float]

    @property
    def strength(self) -> float | Mapping[str, float]:
        """One number where every module has the same, else module by module."""
        distinct = set(self.strengths.values())
        return distinct.pop() if len(distinct) == 1 else self.strengths

    @property
    def is_silent(self) -> bool:
        """Whether it changes nothing."""
        return not any(self.strengths.values())

    @property
    def content(self) -> Hashable:
        """What `source` computes, by the digests of the files that it reads: a path may hold another file later."""
        return self.source.content, tuple(origin.sha256 for _, origin in inputs(self.source))


def attachments(combination: Combination) -> tuple[Attachment, ...]:
    """What a sum is made of, in its order, that of equal content once: vectors, and what methods made of several.

    Sums inside sums and scopes are numbers of their modules, so that turning one loads nothing. A name that is taken
    gets its place: `soft`, `soft#3`.
    """
    sources: dict[Hashable, Source] = {}
    for source in leaves(combination):
        sources.setdefault(source.content, source)
    strengths = {id(source): dict.fromkeys(source.modules, 0.0) for source in sources.values()}
    for module in reached_modules(combination):
        for weight, source in combination.terms_of(module):
            strengths[id(source)][module] = weight
    named: dict[str, Attachment] = {}
    for place, source in enumerate(sources.values(), start=1):
        name = source.name if source.name not in named else f"{source.name}#{place}"
        named[name] = Attachment(name, source, strengths[id(source)])
    return tuple(named.values())


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
